"""The hinge loss by hand, against TRL's, and its gradient."""

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("hinge", beta=0.1)
    # The rewards differ by 0.1 x 2.
    assert value == pytest.approx(0.8)
    assert slopes == loss_cases.slopes(-0.1, 0.1)


def test_pairs_that_are_apart_cost_nothing() -> None:
    assert loss_cases.by_hand("hinge", beta=0.6) == (0, [0, 0])


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("hinge", "hinge")


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("hinge")
    loss_cases.is_finite_at_extremes("hinge")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("hinge")
