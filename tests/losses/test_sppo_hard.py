"""SPPO: the loss by hand, against TRL's, and its gradient."""

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("sppo_hard", beta=0.1)
    # The log-ratios are 1 and -1, and are to be 5 and -5.
    assert value == pytest.approx(32)
    assert slopes == loss_cases.slopes(-8, 8)


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("sppo_hard", "sppo_hard")


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("sppo_hard")
    loss_cases.is_finite_at_extremes("sppo_hard")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("sppo_hard")
