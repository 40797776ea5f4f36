"""Which labels are swapped: exactly the share asked for, by the seed, spread over the file."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.objectives.label_noise import flips

unhurried = hypothesis.settings(deadline=None)  # a busy machine is no failure


@unhurried
@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_flips_are_exactly_the_share(pairs: int, share: float, seed: int) -> None:
    found = flips(pairs, share, seed)
    assert found.shape == (pairs,)
    assert found.dtype == bool
    assert found.sum() == round(share * pairs)


@unhurried
@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_smaller_share_flips_a_subset(pairs: int, one: float, other: float, seed: int) -> None:
    small, large = (flips(pairs, share, seed) for share in sorted((one, other)))
    assert not (small & ~large).any()


def test_flips_follow_the_seed() -> None:
    first = flips(200, 0.5, seed=1)
    assert np.array_equal(first, flips(200, 0.5, seed=1))
    assert not np.array_equal(first, flips(200, 0.5, seed=2))


def test_flips_are_spread_over_the_file() -> None:
    found = flips(10_000, 0.25, seed=0)
    quarters = found.reshape(4, 2500).mean(axis=1)
    # Four standard deviations of a share drawn from 2,500.
    assert quarters == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 2500))
