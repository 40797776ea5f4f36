"""Intervals of shares and means, against their formulas and by how often they are right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from preference.evaluation.intervals import constant, mean_interval, share_interval

unhurried = settings(deadline=None)  # a busy machine is no failure

Z = 1.959963984540054  # the normal distribution's 97.5% quantile

# Eighths: their differences are exact, so equal ones are equal.
values = st.integers(-1000, 1000).map(lambda n: n / 8)
samples = st.lists(values, min_size=2, max_size=30).map(np.array)


def shares(hits: int, misses: int) -> np.ndarray:
    return np.array([True] * hits + [False] * misses)


@unhurried
@given(st.integers(0, 60), st.integers(0, 60))
def test_share_interval_is_wilsons(hits: int, misses: int) -> None:
    n = max(1, hits + misses)
    found = share_interval(shares(hits, n - hits))
    share = hits / n
    center = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    assert (found.low, found.high) == pytest.approx((center - half, center + half), abs=1e-9)


def test_share_interval_by_hand() -> None:
    # 8 of 10: (0.8 + 0.19207) / 1.38415 = 0.71674, and 1.41601 x sqrt(0.016 + 0.0096) = 0.22658.
    found = share_interval(shares(8, 2))
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_share_interval_stays_within_0_and_1() -> None:
    assert share_interval(shares(0, 3)).low == 0
    assert share_interval(shares(3, 0)).high == 1


@unhurried
@given(samples)
def test_mean_interval_is_students(sample: np.ndarray) -> None:
    found = mean_interval(sample)
    n = len(sample)
    half = stats.t.ppf(0.975, n - 1) * np.std(sample, ddof=1) / math.sqrt(n)
    expected = (np.mean(sample) - half, np.mean(sample) + half)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_mean_interval_by_hand() -> None:
    # Mean 2, standard deviation 1; the t quantile for 2 degrees of freedom is 4.302653.
    found = mean_interval(np.array([1.0, 2.0, 3.0]))
    half = 4.302652729911275 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-9)


def test_one_value_has_no_mean_interval() -> None:
    found = mean_interval(np.array([0.3]))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_share_interval_covers_95_percent() -> None:
    # Exact: the probability of every count of hits times whether its interval covers.
    n, share = 200, 0.53
    probabilities = stats.binom.pmf(np.arange(n + 1), n, share)
    coverage = 0.0
    for hits, probability in enumerate(probabilities):
        found = share_interval(shares(hits, n - hits))
        coverage += float(probability) * (found.low <= share <= found.high)
    assert coverage == pytest.approx(0.95, abs=0.01)


def test_mean_interval_covers_95_percent() -> None:
    generator = np.random.default_rng(0)
    runs = 2000
    covered = 0
    for _ in range(runs):
        found = mean_interval(generator.normal(0.1, 2.0, size=20))
        covered += found.low <= 0.1 <= found.high
    # Three standard errors of a share of 2,000.
    assert covered / runs == pytest.approx(0.95, abs=0.015)


def test_equal_values_are_constant_and_have_no_width() -> None:
    assert constant(np.array([0.1, 0.1]))
    assert not constant(np.array([0.1, 0.2]))
    assert vars(mean_interval(np.array([0.1] * 3))) == {"low": 0.1, "high": 0.1}


def test_nothing_has_no_interval() -> None:
    for found in (share_interval(np.array([], bool)), mean_interval(np.array([]))):
        assert math.isnan(found.low)
        assert math.isnan(found.high)
