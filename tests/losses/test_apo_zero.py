"""APO-zero: the loss by hand, against TRL's, and its gradient."""

import math

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("apo_zero", beta=0.1)
    # The rewards are 0.1 and -0.1.
    p = 1 / (1 + math.exp(-0.1))
    assert value == pytest.approx(2 * (1 - p))
    slope = 0.1 * p * (1 - p)
    assert slopes == loss_cases.slopes(-slope, slope)


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("apo_zero", "apo_zero")


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("apo_zero")
    loss_cases.is_finite_at_extremes("apo_zero")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("apo_zero")
