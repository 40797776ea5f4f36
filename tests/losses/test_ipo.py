"""IPO: the loss by hand, against TRL's, and its gradient."""

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("ipo", beta=0.1)
    # The log-ratios differ by 2, and are to differ by 1 / (2 x 0.1) = 5.
    assert value == pytest.approx(9)
    assert slopes == loss_cases.slopes(-6, 6)


def test_it_is_as_trl_has_it() -> None:
    # The peer takes means, whatever it is told.
    loss_cases.as_trl_has_it("ipo", "ipo", normalize=True)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("ipo")
    loss_cases.is_finite_at_extremes("ipo")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("ipo")
