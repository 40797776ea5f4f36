"""DPOP: the loss by hand and its gradient; TRL has none."""

import math
from pathlib import Path

import loss_cases
import pytest
import torch


def test_a_chosen_response_that_became_likelier_is_as_in_dpo() -> None:
    assert loss_cases.by_hand("dpop", beta=0.1) == loss_cases.by_hand("dpo", beta=0.1)


def test_one_that_became_less_likely_costs_a_penalty() -> None:
    sums = torch.tensor([[-12.0, -14.0]], dtype=torch.float64, requires_grad=True)
    reference, tokens = torch.tensor([[-11.0, -11.0]]).double(), torch.ones(1, 2)
    batch = loss_cases.batch_of("dpop", sums, reference, tokens, normalize=False)
    loss = loss_cases.loss_of("dpop", batch, 0.1, {"penalty": 5.0})
    # The log-ratios are -1 and -3: 2 is gained, and 5 x 1 to be paid.
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.3)))
    (slopes,) = torch.autograd.grad(loss.sum(), sums)
    slope = 0.1 / (1 + math.exp(-0.3))
    # Of the chosen response it is 1 + 5 times as large: of the log-ratio, and of its penalty.
    assert slopes[0].tolist() == loss_cases.slopes(-6 * slope, slope)


def test_without_a_penalty_it_is_dpo() -> None:
    loss_cases.as_trl_has_it("dpop", "sigmoid", options={"penalty": 0.0})


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("dpop", penalty=2.0)
    loss_cases.is_finite_at_extremes("dpop")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("dpop")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.penalty: input should be greater than or equal to 0 (it is -1.0)"
    loss_cases.refused(tmp_path, "dpop", said, penalty=-1.0)
