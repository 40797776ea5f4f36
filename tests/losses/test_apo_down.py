"""APO-down: the loss by hand, against TRL's, and its gradient."""

import math

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("apo_down", beta=0.1)
    # The rewards are 0.1 and -0.1.
    p, q = 1 / (1 + math.exp(-0.1)), 1 / (1 + math.exp(-0.2))
    assert value == pytest.approx(p + 1 - q)
    chosen, both = 0.1 * p * (1 - p), 0.1 * q * (1 - q)
    # Both are to become less likely, the rejected one more so.
    assert slopes == loss_cases.slopes(chosen - both, both)
    assert 0 < slopes[0] < slopes[1]


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("apo_down", "apo_down")


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("apo_down")
    loss_cases.is_finite_at_extremes("apo_down")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("apo_down")
