"""DiscoPOP: the loss by hand, against TRL's, and its gradient."""

import math
from pathlib import Path

import loss_cases
import pytest
import torch


def test_it_by_hand() -> None:
    value, _ = loss_cases.by_hand("discopop", beta=0.1, tau=0.5)
    # The rewards differ by 0.1 x 2.
    weight = 1 / (1 + math.exp(-0.4))
    expected = (1 - weight) * math.log(1 + math.exp(-0.2)) + weight * math.exp(-0.2)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize(("margin", "expected"), [(-1000.0, 1000), (1000.0, 0)])
def test_far_from_0_it_is_logistic_or_exponential(margin: float, expected: float) -> None:
    policy, zeros = torch.tensor([[margin, 0.0]]), torch.zeros(1, 2)
    batch = loss_cases.batch_of("discopop", policy, zeros, torch.ones(1, 2), normalize=False)
    assert loss_cases.loss_of("discopop", batch, 1.0, {}).item() == expected


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("discopop", "discopop", beta=0.1)
    loss_cases.as_trl_has_it("discopop", "discopop", beta=0.1, options={"tau": 0.3})


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("discopop")
    loss_cases.is_finite_at_extremes("discopop")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("discopop")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.tau: input should be greater than 0 (it is 0.0)"
    loss_cases.refused(tmp_path, "discopop", said, tau=0.0)
