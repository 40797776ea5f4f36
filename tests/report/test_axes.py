"""Axes hold intervals, and do not make noise large."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.report.axes import Axis, share

shares = st.floats(0, 1)


def domain(axis: Axis, values: list[float]) -> tuple[float, float]:
    low, high = axis.domain(values)
    return low, high


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Near chance: two tenths around the middle of what there is.
        ([0.49, 0.51], (0.4, 0.6)),
        ([0.55, 0.57], (0.435, 0.635)),
        # Chance is in sight, and all of the interval.
        ([0.9, 0.95], (0.5, 0.95)),
        ([0.1, 0.2, math.nan], (0.1, 0.5)),
        ([], (0.4, 0.6)),
    ],
)
def test_shares_by_hand(values: list[float], expected: tuple[float, float]) -> None:
    assert domain(share("pair_acc"), values) == pytest.approx(expected)


def test_what_is_too_wide_for_one_end_goes_to_the_other() -> None:
    axis = Axis("", least=0.4, ends=(0, 1))
    assert domain(axis, [0.95]) == pytest.approx((0.6, 1))
    assert domain(axis, [0.01, 0.03]) == pytest.approx((0, 0.4))


def test_margins_show_0_and_have_no_ends() -> None:
    axis = Axis("margin", holds=(0.0,))
    assert domain(axis, [2.0, 2.5]) == (0, 2.5)
    assert domain(axis, [-3.0, -2.0]) == (-3, 0)
    assert domain(Axis("empty"), [math.nan]) == (0, 1)


@given(st.lists(shares, max_size=5))
def test_every_axis_of_shares_holds_all_and_is_wide_enough(values: list[float]) -> None:
    low, high = domain(share("pair_acc"), values)
    assert 0 <= low <= min([0.5, *values])
    assert max([0.5, *values]) <= high <= 1
    assert high - low > 0.2 - 1e-9
    assert all(a <= b for a, b in pairwise((low, 0.5, high)))
