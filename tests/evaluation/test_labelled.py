"""The AUC and its difference, against plain counts, DeLong's formula and by how often they hold."""

import math
from dataclasses import replace

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from preference.evaluation import labelled
from preference.evaluation.statistics import Difference
from preference.store.scores import Scores

# Few values, so that ties come up.
few = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def right(good: float, bad: float) -> float:
    """How right it is to score these two so."""
    return 1.0 if good > bad else 0.5 if good == bad else 0.0


def counted(desirable: np.ndarray, undesirable: np.ndarray) -> float:
    """The AUC, one comparison after the other."""
    return sum(right(x, y) for x in desirable for y in undesirable) / (
        len(desirable) * len(undesirable)
    )


@given(few, few)
def test_the_auc_is_the_share_of_right_comparisons(good: list[float], bad: list[float]) -> None:
    desirable, undesirable = np.array(good), np.array(bad)
    below, above = labelled.placements(desirable, undesirable)
    assert below == pytest.approx([np.mean([right(x, y) for y in bad]) for x in good])
    assert above == pytest.approx([np.mean([right(x, y) for x in good]) for y in bad])
    found = labelled.metrics(desirable, undesirable)
    assert found["auc"] == pytest.approx(counted(desirable, undesirable), abs=1e-12)
    assert found["label_margin"] == pytest.approx(np.mean(good) - np.mean(bad))
    assert 0 <= found["auc_low"] <= found["auc"] + 1e-9
    assert found["auc"] - 1e-9 <= found["auc_high"] <= 1


def test_metrics_by_hand() -> None:
    # -1 lies above both, -2 above one and level with the other, -4 below both: 3.5 of 6.
    found = labelled.metrics(np.array([-1.0, -2.0, -4.0]), np.array([-2.0, -3.0]))
    assert found["auc"] == pytest.approx(3.5 / 6)
    assert found["label_margin"] == pytest.approx(-7 / 3 + 5 / 2)
    peer = CompareMeans(DescrStatsW([-1.0, -2.0, -4.0]), DescrStatsW([-2.0, -3.0]))
    ends = found["label_margin_low"], found["label_margin_high"]
    assert ends == pytest.approx(peer.tconfint_diff(usevar="unequal"))
    assert list(found) == [f"{m}{end}" for m in labelled.METRICS for end in ("", "_low", "_high")]


def test_of_one_label_nothing_is_known() -> None:
    found = labelled.metrics(np.array([-1.0, -2.0]), np.array([]))
    assert all(math.isnan(value) for value in found.values())
    sides = np.array([-1.0, -2.0]), np.array([])
    for difference in labelled.differences(sides, sides).values():
        assert all(math.isnan(value) for value in vars(difference).values())


def hanley_mcneil(auc: float, n: float, m: float, others: float) -> float:
    """The variance of an AUC by the formula of Hanley and McNeil 1982."""
    two_good, two_bad = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = others * (two_good - auc**2) + others * (two_bad - auc**2)
    return (auc * (1 - auc) + spread) / (n * m)


@pytest.mark.parametrize(
    ("auc", "n", "m"), [(0.5, 10, 10), (0.9, 30, 7), (0.02, 5, 200), (1.0, 4, 4), (0.0, 50, 9)]
)
def test_the_interval_ends_where_the_auc_is_two_of_their_errors_away(
    auc: float, n: int, m: int
) -> None:
    found = labelled.auc_interval(auc, n, m)
    for end, edge in ((found.low, 0.0), (found.high, 1.0)):
        if auc == edge:
            assert end == edge
        else:
            error = math.sqrt(hanley_mcneil(end, n, m, (n + m) / 2 - 1))
            assert abs(auc - end) / error == pytest.approx(1.959963984540054)
    other = labelled.auc_interval(1 - auc, n, m)
    assert (1 - other.high, 1 - other.low) == pytest.approx((found.low, found.high))


def test_of_two_responses_the_interval_is_wilsons_of_one_try() -> None:
    found = labelled.auc_interval(1.0, 1, 1)
    wilson = stats.binomtest(1, 1).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize(("n", "m", "apart"), [(20, 30, 0.0), (15, 60, 1.0), (40, 40, 2.0)])
def test_the_interval_covers_95_percent(n: int, m: int, apart: float) -> None:
    generator, runs, covered = np.random.default_rng(0), 1000, 0
    true = stats.norm.cdf(apart / math.sqrt(2))
    for _ in range(runs):
        good, bad = generator.normal(apart, size=n), generator.normal(size=m)
        found = labelled.auc_interval(float(np.mean(good[:, None] > bad)), n, m)
        covered += found.low <= true <= found.high
    # Three standard errors, and what an approximation may be off.
    assert covered / runs == pytest.approx(0.95, abs=0.03)


def samples(n: int, m: int, gain: float = 0.5, seed: int = 0) -> tuple[labelled.Sides, ...]:
    """The same responses scored by two models, which find the same ones hard."""
    generator = np.random.default_rng(seed)
    before = generator.normal(0.5, size=n), generator.normal(0, size=m)
    after = tuple(side + generator.normal(0, 0.5, size=len(side)) for side in before)
    return before, (after[0] + gain, after[1])


def components(sides: labelled.Sides) -> tuple[list[float], list[float]]:
    """DeLong's, one comparison after the other."""
    good, bad = sides
    return (
        [float(np.mean([right(x, y) for y in bad])) for x in good],
        [float(np.mean([right(x, y) for x in good])) for y in bad],
    )


def test_the_difference_of_aucs_is_delongs() -> None:
    before, after = samples(25, 40)
    found = labelled.differences(before, after)["auc"]
    old, new = components(before), components(after)
    # The variance of the contrast of two correlated AUCs, from their covariance matrices.
    contrast = np.array([-1.0, 1.0])
    parts = [contrast @ np.cov(a, b) @ contrast / len(a) for a, b in zip(old, new, strict=True)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 24 + parts[1] ** 2 / 39)
    gain = counted(*after) - counted(*before)
    half = stats.t.ppf(0.975, freedom) * error
    p_value = 2 * stats.t.sf(abs(gain) / error, freedom)
    expected = Difference(gain, gain - half, gain + half, p_value)
    assert vars(found) == pytest.approx(vars(expected))


def test_the_difference_of_aucs_spreads_as_resampled_responses_do() -> None:
    before, after = samples(120, 80)
    found = labelled.differences(before, after)["auc"]
    generator, gains = np.random.default_rng(1), []
    for _ in range(2000):
        chosen = [generator.integers(len(side), size=len(side)) for side in before]
        two = [
            [side[which] for side, which in zip(one, chosen, strict=True)]
            for one in (before, after)
        ]
        # No scores are tied.
        aucs = [np.mean(good[:, None] > bad) for good, bad in two]
        gains.append(aucs[1] - aucs[0])
    assert (found.low, found.high) == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=0.01)


def test_the_difference_of_margins_is_of_the_changes() -> None:
    before, after = samples(25, 40)
    found = labelled.differences(before, after)["label_margin"]
    good, bad = (new - old for old, new in zip(before, after, strict=True))
    peer = CompareMeans(DescrStatsW(good), DescrStatsW(bad))
    low, high = peer.tconfint_diff(usevar="unequal")
    _, p_value, _ = peer.ttest_ind(usevar="unequal")
    expected = Difference(float(np.mean(good) - np.mean(bad)), low, high, p_value)
    assert vars(found) == pytest.approx(vars(expected))


def test_a_difference_is_rarely_significant_without_one() -> None:
    runs = 300
    found = [labelled.differences(*samples(30, 50, 0.0, seed))["auc"] for seed in range(runs)]
    noise = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.mean([one.p_value < 0.05 for one in found]) == pytest.approx(0.05, abs=noise)


def test_identical_scores_do_not_differ() -> None:
    sides = np.array([-1.0, -3.0, -0.5]), np.array([-2.0, -4.0])
    for found in labelled.differences(sides, sides).values():
        assert found == Difference(0.0, 0.0, 0.0, 1.0)


def test_few_responses_turned_over_are_no_proof() -> None:
    worse = np.array([-4.0, -5.0]), np.array([-1.0, -2.0])
    found = labelled.differences(worse, worse[::-1])["auc"]
    # 4 responses can be labelled in 6 ways.
    assert found == Difference(1.0, 1.0, 1.0, 2 / 6)


def test_sides_are_scores_by_label_of_all_or_of_a_source() -> None:
    index = naive.make_index([1] * 5, [])
    index.labels[:] = [1, 0, -1, 1, 0]
    index = replace(index, sources=np.array(["a", "a", "a", "b", "b"]))
    scores = Scores(index, np.array([-2.0, -4.0, -6.0, -8.0, -10.0]), np.full(5, 2))
    good, bad = labelled.sides(scores, normalize=False)
    assert (good.tolist(), bad.tolist()) == ([-2, -8], [-4, -10])
    good, bad = labelled.sides(scores, normalize=True, source="b")
    assert (good.tolist(), bad.tolist()) == ([-4], [-5])
