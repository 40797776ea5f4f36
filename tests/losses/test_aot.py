"""AOT: the loss by hand, against TRL's and a sort of the whole step, and its gradient."""

import math
from pathlib import Path

import loss_cases
import pytest
import torch


def test_of_one_pair_it_is_dpo() -> None:
    assert loss_cases.by_hand("aot", beta=0.1) == loss_cases.by_hand("dpo", beta=0.1)


def test_a_margin_meets_the_one_of_its_rank() -> None:
    sums = torch.tensor([[0.0, -3.0], [0.0, -1.0], [0.0, -2.0]])
    reference = torch.tensor([[0.0, -30.0], [0.0, -20.0], [0.0, -10.0]])
    batch = loss_cases.batch_of("aot", sums, reference, torch.ones(3, 2), normalize=False)
    assert batch.statistic is not None
    # The margins 3, 1, 2 are the largest, the smallest and the one between.
    assert batch.statistic.tolist() == [30, 10, 20]
    loss = loss_cases.loss_of("aot", batch, 0.1, {})
    expected = [math.log(1 + math.exp(0.1 * above)) for above in (27, 9, 18)]
    assert loss.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_naive_loss_of_a_sorted_step(normalize: bool) -> None:
    step = loss_cases.random_step(pairs=20)
    tokens = step.tokens if normalize else 1
    policy, reference = (
        (scores[:, 0] - scores[:, 1]).sort().values
        for scores in (step.sums / tokens, step.reference / tokens)
    )
    expected = -(0.7 * (policy - reference)).sigmoid().log()
    loss = loss_cases.loss_of("aot", step.batch("aot", normalize), 0.7, {})
    loss_cases.agree(loss, expected, step)


def test_of_equal_margins_each_has_a_rank_of_its_own() -> None:
    reference = torch.tensor([[0.0, -30.0], [0.0, -20.0], [0.0, -10.0]])
    batch = loss_cases.batch_of("aot", torch.zeros(3, 2), reference, torch.ones(3, 2), False)
    assert batch.statistic is not None
    assert sorted(batch.statistic.tolist()) == [10, 20, 30]


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("aot", "aot", options={"label_smoothing": 0.2})


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("aot")
    loss_cases.is_finite_at_extremes("aot")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("aot")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.label_smoothing: input should be less than 0.5 (it is 0.5)"
    loss_cases.refused(tmp_path, "aot", said, label_smoothing=0.5)
