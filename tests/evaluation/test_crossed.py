"""Means over seeds and shared test items: by hand, against statsmodels, and how often they hold."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from preference.evaluation import crossed, labelled
from preference.evaluation.crossed import Items, Spread, estimate
from preference.evaluation.statistics import mean_difference
from preference.store.index import Index
from preference.store.scores import Scores, pair_margins

DRAWS = 10_000


def draw(
    generator: np.random.Generator, size: tuple[int, int], seed: float, item: float, rest: float
) -> np.ndarray:
    """Normal values of mean 0 with these standard deviations, (draws, seeds, items)."""
    seeds, items = size
    return (
        seed * generator.standard_normal((DRAWS, seeds, 1))
        + item * generator.standard_normal((DRAWS, 1, items))
        + rest * generator.standard_normal((DRAWS, seeds, items))
    )


def test_two_seeds_and_two_items_by_hand() -> None:
    found = estimate([np.array([[1.0, 3.0], [2.0, 8.0]])])
    # Mean squares: seeds (2 - 5)^2 = 9, items (1.5 - 5.5)^2 = 16, what is left 29 - 9 - 16 = 4.
    assert (found.value, found.over_seeds) == (3.5, pytest.approx(math.sqrt(4.5)))
    (items,) = found.spread.items
    assert (items.count, items.item, items.rest) == (2, pytest.approx(6), pytest.approx(4))
    assert (found.spread.seeds, found.spread.seed) == (2, pytest.approx(2.5))
    # t of one degree of freedom, squared: 161.4476. Seeds 2.5 / 2, items (6 + 4 / 2) / 2.
    assert found.spread.half_width() == pytest.approx(math.sqrt(161.4476 * 5.25), rel=1e-6)


def test_variances_are_those_of_the_analysis_of_variance() -> None:
    values = draw(np.random.default_rng(0), (4, 30), 2.0, 1.0, 0.5)[0]
    seeds, items = np.indices(values.shape)
    frame = {"s": seeds.ravel(), "i": items.ravel(), "y": values.ravel()}
    squares = anova_lm(ols("y ~ C(s) + C(i)", frame).fit())["mean_sq"]
    found = estimate([values]).spread
    (left,) = found.items
    assert left.rest == pytest.approx(squares["Residual"])
    assert left.item == pytest.approx((squares["C(i)"] - squares["Residual"]) / 4)
    assert found.seed == pytest.approx((squares["C(s)"] - squares["Residual"]) / 30)


def test_many_results_at_once_are_each_as_if_alone() -> None:
    values = draw(np.random.default_rng(1), (3, 10), 1.0, 1.0, 1.0)[:5]
    together = estimate([values])
    for i, one in enumerate(values):
        alone = estimate([one])
        assert together.value[i] == pytest.approx(alone.value)
        half = together.spread.half_width()[i]
        assert half == pytest.approx(alone.spread.half_width())


# Standard deviations of seeds in standard errors of the items: none, as much, and far more. The
# bounds are those that docs/experiments.md states.
@pytest.mark.parametrize("rest", [0.5, 1.0])
@pytest.mark.parametrize("seed", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("seeds", "items"), [(3, 100), (5, 100), (10, 50)])
def test_95_percent_of_intervals_hold_the_mean(
    seeds: int, items: int, seed: float, rest: float
) -> None:
    generator = np.random.default_rng(seeds)
    values = draw(generator, (seeds, items), seed / math.sqrt(items), 1.0, rest)
    found = estimate([values])
    holds = np.mean(np.abs(found.value) <= found.spread.half_width())
    assert 0.944 < holds < 0.976


@pytest.mark.parametrize("seed", [0.0, 0.2])
@pytest.mark.parametrize("seeds", [3, 5])
def test_as_many_hold_for_shares(seeds: int, seed: float) -> None:
    """Hits where a normal value is above 0: their expected share is known."""
    generator = np.random.default_rng(10 + seeds)
    values = draw(generator, (seeds, 100), seed, 1.0, 1.0)
    found = estimate([(values > -0.6).astype(float)])
    true = stats.norm.sf(-0.6 / math.sqrt(seed**2 + 2))
    assert 0.944 < np.mean(np.abs(found.value - true) <= found.spread.half_width()) < 0.976


def test_what_an_interval_over_pairs_alone_would_hold() -> None:
    """Why seeds count: one run's interval misses the mean over seeds far too often."""
    values = draw(np.random.default_rng(2), (3, 100), 0.2, 1.0, 1.0)
    half = stats.t.isf(0.025, 99) * values[:, 0].std(1, ddof=1) / math.sqrt(100)
    assert np.mean(np.abs(values[:, 0].mean(1)) <= half) < 0.9


def test_p_values_are_as_even_as_the_intervals() -> None:
    values = draw(np.random.default_rng(3), (4, 40), 0.1, 1.0, 1.0)[:400]
    found = [estimate([one]).difference() for one in values]
    for one in found:
        assert (one.p_value < 0.05) == (one.low > 0 or one.high < 0)
    assert 0.02 < np.mean([one.p_value < 0.05 for one in found]) < 0.075


def test_without_spread_of_seeds_it_is_the_paired_t_test() -> None:
    """Seeds that do the same: what is left is one model on the items."""
    generator = np.random.default_rng(4)
    change = generator.standard_normal(50) + 0.3
    found = estimate([np.stack([change] * 3)]).difference()
    known = mean_difference(np.zeros(50), change)
    assert found.p_value == pytest.approx(known.p_value)
    assert [found.low, found.high] == pytest.approx([known.low, known.high])


def test_certain_and_unknown_values() -> None:
    same = estimate([np.full((3, 4), 0.25)]).difference()
    assert (same.difference, same.low, same.high, same.p_value) == (0.25, 0.25, 0.25, 0.0)
    assert estimate([np.zeros((3, 4))]).difference().p_value == 1.0
    alone = estimate([np.arange(4.0)[None]]).difference()
    assert alone.difference == 1.5
    assert all(map(math.isnan, (alone.low, alone.high, alone.p_value)))
    far = estimate([1e6 + draw(np.random.default_rng(5), (30, 60), 0, 1, 1)[0]])
    assert far.difference().p_value == 0.0
    cut = estimate([np.array([[1.0, 0.0], [1.0, 1.0]])]).difference((0, 1))
    assert (cut.low, cut.high) == (0, 1)


def test_half_widths_by_level() -> None:
    spread = Spread(3, 0.3, (Items(5, 0.2, 0.6), Items(9, 0.0, 0.3)))
    t = [stats.t.isf(0.05, freedom) for freedom in (2, 4, 8)]
    expected = math.sqrt(t[0] ** 2 * 0.1 + t[1] ** 2 * 0.4 / 5 + t[2] ** 2 * 0.1 / 9)
    assert crossed.half_width(spread.parts, 0.1) == pytest.approx(expected)


def scores(logps: np.ndarray, pairs: int) -> Scores:
    """Responses, two a prompt; those behind the pairs are labelled, desirable and not by turns."""
    count = len(logps)
    labels = np.where(np.arange(count) < 2 * pairs, -1, (np.arange(count) + 1) % 2)
    index = Index(
        rows=np.arange(count // 2),
        prompt_of=np.arange(count) // 2,
        pairs=np.arange(2 * pairs).reshape(-1, 2),
        labels=labels,
        weights=np.ones(count),
    )
    return Scores(index, logps, np.full(count, 2))


def test_samples_of_pairs() -> None:
    generator = np.random.default_rng(6)
    found = [scores(generator.standard_normal(20), pairs=10) for _ in range(3)]
    by_metric = crossed.samples(found, normalize=True)
    assert list(by_metric) == ["pair_acc", "margin"]
    (hits,), (margins,) = by_metric.values()
    for seed, one in enumerate(found):
        np.testing.assert_array_equal(margins[seed], pair_margins(one, normalize=True))
        np.testing.assert_array_equal(hits[seed], margins[seed] > 0)


def test_samples_without_pairs_have_the_auc_as_their_mean() -> None:
    generator = np.random.default_rng(7)
    found = [scores(generator.standard_normal(24), pairs=0) for _ in range(3)]
    by_metric = crossed.samples(found, normalize=False)
    for metric, parts in by_metric.items():
        assert [part.shape for part in parts] == [(3, 12), (3, 12)]
        for seed, one in enumerate(found):
            known = labelled.metrics(*labelled.sides(one, normalize=False))[metric]
            assert sum(part[seed].mean() for part in parts) == pytest.approx(known)


def test_the_auc_of_the_same_scores_has_the_spread_of_delong() -> None:
    generator = np.random.default_rng(8)
    one = scores(generator.standard_normal(60), pairs=0)
    spread = estimate(crossed.samples([one] * 3, normalize=True)["auc"]).spread
    below, above = labelled.placements(*labelled.sides(one, normalize=True))
    assert spread.of_items == pytest.approx([below.var(ddof=1) / 30, above.var(ddof=1) / 30])
    assert spread.seed == pytest.approx(0, abs=1e-12)


def test_intervals_of_an_auc_hold_it() -> None:
    """Desirable responses are better by as much as the seeds differ in; the AUC is known."""
    generator, held, draws = np.random.default_rng(9), 0, 600
    desirable = np.arange(80) % 2 == 0
    for _ in range(draws):
        gain = 1 + 0.3 * generator.standard_normal(3)
        shared = generator.standard_normal(80)
        found = [
            scores(shared + generator.standard_normal(80) + g * desirable, pairs=0) for g in gain
        ]
        of_auc = estimate(crossed.samples(found, normalize=False)["auc"])
        true = stats.norm.cdf(1 / math.sqrt(4 + 0.3**2))
        held += abs(of_auc.value - true) <= of_auc.spread.half_width()
    assert 0.92 < held / draws < 0.985
