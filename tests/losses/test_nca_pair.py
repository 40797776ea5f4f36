"""NCA: the loss by hand, against TRL's, and its gradient."""

import math

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("nca_pair", beta=0.1)
    # The rewards are 0.1 and -0.1.
    low, high = math.log(1 + math.exp(-0.1)), math.log(1 + math.exp(0.1))
    assert value == pytest.approx(low + 0.5 * high + 0.5 * low)
    up, down = 1 / (1 + math.exp(-0.1)), 1 / (1 + math.exp(0.1))
    assert slopes == loss_cases.slopes(0.1 * (0.5 * up - down), 0.1 * 0.5 * down)


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("nca_pair", "nca_pair")


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("nca_pair")
    loss_cases.is_finite_at_extremes("nca_pair")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("nca_pair")
