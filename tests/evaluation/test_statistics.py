"""Tests of differences, against their formulas and by how often they are right."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from preference.evaluation.statistics import (
    Difference,
    group_difference,
    mean_difference,
    share_difference,
)

unhurried = settings(deadline=None)  # a busy machine is no failure

# Eighths: their differences are exact, so equal ones are equal.
values = st.integers(-1000, 1000).map(lambda n: n / 8)
pairs_of_samples = st.lists(st.tuples(values, values), min_size=2, max_size=30).map(np.array)


def shares(hits: int, misses: int) -> np.ndarray:
    return np.array([True] * hits + [False] * misses)


def outcomes(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, (pairs,) booleans each."""
    before = [True] * both + [False] * gained + [True] * lost + [False] * neither
    after = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return np.array(before), np.array(after)


def approximately(difference: Difference) -> object:
    return pytest.approx(vars(difference), rel=1e-9, abs=1e-12, nan_ok=True)


@unhurried
@given(st.integers(0, 5), st.integers(0, 25), st.integers(0, 25), st.integers(0, 5))
def test_share_difference_p_value_is_mcnemars(
    both: int, gained: int, lost: int, neither: int
) -> None:
    before, after = outcomes(both, gained, lost, neither + 1)
    found = share_difference(before, after)
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    assert found.p_value == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert found.difference == pytest.approx((gained - lost) / len(before))


def test_share_difference_by_hand() -> None:
    # 7 gained, 1 lost: 2 x (1 + 8) / 256.
    before, after = outcomes(both=10, gained=7, lost=1, neither=2)
    found = share_difference(before, after)
    assert found.p_value == pytest.approx(18 / 256)
    assert found.difference == pytest.approx(0.3)


@unhurried
@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_share_difference_interval_is_the_paired_t(
    both: int, gained: int, lost: int, neither: int
) -> None:
    before, after = outcomes(both, gained, lost, neither)
    found = share_difference(before, after)
    paired = stats.ttest_rel(after.astype(float), before.astype(float)).confidence_interval(0.95)
    expected = max(-1.0, paired.low), min(1.0, paired.high)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(3, 0), (0, 3)])
def test_no_difference_of_shares_is_beyond_1(gained: int, lost: int) -> None:
    # 0.75 with a standard error of 0.25: Student's interval would end at 0.75 + 3.18 x 0.25 > 1.
    found = share_difference(*outcomes(0, gained, lost, 1))
    ends = (0.75 - 3.182446305284263 * 0.25, 1.0)
    assert (found.low, found.high) == pytest.approx(ends if gained else (-1.0, -ends[0]))


@unhurried
@given(pairs_of_samples)
def test_mean_difference_is_the_paired_t_test(table: np.ndarray) -> None:
    before, after = table.T
    assume(np.ptp(after - before) > 0)
    found = mean_difference(before, after)
    paired = stats.ttest_rel(after, before)
    interval = paired.confidence_interval(0.95)
    expected = Difference(
        float(np.mean(after) - np.mean(before)),
        float(interval.low),
        float(interval.high),
        float(paired.pvalue),
    )
    assert vars(found) == approximately(expected)


def test_a_difference_changes_sign_with_its_direction() -> None:
    before, after = np.array([0.0, 1.0, 4.0]), np.array([1.0, 3.0, 4.5])
    forth, back = mean_difference(before, after), mean_difference(after, before)
    assert vars(back) == approximately(
        Difference(-forth.difference, -forth.high, -forth.low, forth.p_value)
    )


def test_pairing_finds_what_the_spread_between_pairs_hides() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(0, 10, size=100)
    after = before + generator.normal(0.2, 0.3, size=100)
    assert mean_difference(before, after).p_value < 0.001
    assert stats.ttest_ind(before, after).pvalue > 0.5


def test_share_difference_is_rarely_significant_without_a_difference() -> None:
    generator = np.random.default_rng(0)
    runs = 1500
    significant = covered = 0
    for _ in range(runs):
        # Both models are right on 40% of the pairs together, and each on 20% of the rest.
        easy = generator.random(150) < 0.4
        before, after = (easy | (generator.random(150) < 0.2) for _ in range(2))
        found = share_difference(before, after)
        significant += found.p_value < 0.05
        covered += found.low <= 0 <= found.high
    noise = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert significant / runs <= 0.05 + noise
    assert covered / runs == pytest.approx(0.95, abs=noise)


def test_mean_difference_is_significant_in_5_percent_without_a_difference() -> None:
    generator = np.random.default_rng(0)
    runs = 1500
    significant = sum(
        mean_difference(*generator.normal(size=(2, 30))).p_value < 0.05 for _ in range(runs)
    )
    assert significant / runs == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / runs))


def test_identical_scores_do_not_differ() -> None:
    hits, margins = np.array([True, False, True]), np.array([0.1, -0.2, 0.3])
    nothing = Difference(0.0, 0.0, 0.0, 1.0)
    assert share_difference(hits, hits) == nothing
    assert mean_difference(margins, margins) == nothing


def test_a_constant_difference_is_certain() -> None:
    before = np.array([1.0, 2.0, 3.0])
    assert mean_difference(before, before + 0.5) == Difference(0.5, 0.5, 0.5, 0.0)


def test_a_share_gained_in_every_pair_keeps_its_exact_p_value() -> None:
    found = share_difference(np.zeros(3, dtype=bool), np.ones(3, dtype=bool))
    assert found == Difference(1.0, 1.0, 1.0, p_value=2 / 2**3)


def test_one_pair_tells_nothing_of_a_mean_difference() -> None:
    found = mean_difference(np.array([1.0]), np.array([3.0]))
    assert vars(found) == approximately(Difference(2.0, math.nan, math.nan, math.nan))


def test_one_pair_tells_nothing_of_a_share_difference() -> None:
    found = share_difference(np.array([False]), np.array([True]))
    assert found.difference == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    # The exact test needs no spread: of one changed pair either direction is as likely.
    assert found.p_value == 1


@unhurried
@given(st.lists(values, min_size=2, max_size=20), st.lists(values, min_size=2, max_size=20))
def test_group_difference_is_welchs_test(first: list[float], second: list[float]) -> None:
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    found = group_difference(np.array(first), np.array(second))
    peer = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    low, high = peer.tconfint_diff(usevar="unequal")
    _, p_value, _ = peer.ttest_ind(usevar="unequal")
    gap = float(np.mean(first) - np.mean(second))
    assert vars(found) == approximately(Difference(gap, low, high, p_value))


def test_groups_without_spread_are_told_apart_by_how_few_such_groups_there_are() -> None:
    # 3 of 6: 20 ways to choose them, of which two part them so.
    ones, zeros = np.ones(3), np.zeros(3)
    assert group_difference(ones, zeros) == Difference(1.0, 1.0, 1.0, 2 / 20)
    assert group_difference(ones, ones) == Difference(0.0, 0.0, 0.0, 1.0)
    assert group_difference(np.ones(3000), np.zeros(3000)).p_value == 0


def test_a_group_of_one_has_a_mean_and_no_spread() -> None:
    found = group_difference(np.array([3.0]), np.array([1.0, 2.0]))
    assert vars(found) == approximately(Difference(1.5, math.nan, math.nan, math.nan))
    nothing = group_difference(np.array([]), np.array([1.0, 2.0]))
    assert all(math.isnan(value) for value in vars(nothing).values())
