"""Whether published results were reproduced: verdicts by value, and how often they are right."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from data_helpers import ROOT
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestPower
from statsmodels.stats.proportion import proportions_ztest

from preference.core import params
from preference.core.params import Params
from preference.report import markdown, published, results
from preference.report.health import Health
from preference.report.published import Published, Row, Seeds
from preference.report.verdict import (
    COLUMNS,
    LEVEL,
    NOTHING_PUBLISHED,
    POWER,
    Outcome,
    Verdict,
    Word,
    cells,
    explanation,
    headline,
    judge,
    mean_test,
    outcome,
    share_test,
)
from tools.use_recipe import merged

DIRECTORY = ROOT / "recipes" / "published"
RUN = Params.model_validate(merged(ROOT / "recipes" / "published-dpo-gpt2.yaml"))
DEMO = params.load(ROOT / "recipes" / "demo-dpo.yaml")
DRAWS = 10_000
SHARE = 0.535
SIZES = pytest.mark.parametrize("pairs", [1000, 300])


def one(model: str, metric: str, value: str, pairs: int = 1000, **settings: object) -> Published:
    """One published value; `_` in the names of settings stands for a point."""
    row = {
        "model": model,
        "metric": metric,
        "value": value,
        "settings": {key.replace("__", "."): value for key, value in settings.items()},
    }
    return Published.model_validate(
        {"source": "Made up.", "pairs": pairs, "settings": {"data.max_length": 384}, "rows": [row]}
    )


def stated(model: str, metric: str, value: str) -> Row:
    return Row.model_construct(model=model, metric=metric, value=value)


def judged(values: Published, run: Params = RUN, **margins: np.ndarray) -> Verdict:
    (found,) = judge(values, run, margins)
    return found


def changed(**changes: object) -> Params:
    """The published run's params with some keys, `__` for a point, set to other values."""
    values = RUN.model_dump()
    for key, value in changes.items():
        *groups, name = key.split("__")
        group = values
        for part in groups:
            group = group[part]
        group[name] = value
    return Params.model_validate(values)


def hits(count: int, pairs: int) -> np.ndarray:
    """Margins above 0 in `count` of as many pairs."""
    return np.where(np.arange(pairs) < count, 0.5, -0.25)


def skewed(generator: np.random.Generator, *size: int) -> np.ndarray:
    """Margins of mean 0.12 and standard deviation 0.6, from an exponential distribution."""
    return 0.12 + 0.6 * (generator.exponential(size=size) - 1)


def assert_level(p_values: list[float]) -> None:
    """The rate of rejections lies in the binomial 99.9% band around the level."""
    low, high = stats.binom.interval(0.999, len(p_values), LEVEL)
    assert low <= sum(p < LEVEL for p in p_values) <= high


# Verdicts by value.


def test_a_share_near_the_published_one_is_consistent() -> None:
    found = judged(one("final", "pair_acc", "0.5350"), final=hits(520, 1000))
    assert (found.row.model, found.row.metric) == ("final", "pair_acc")
    assert (found.row.value, found.measured) == ("0.5350", 0.52)
    assert found.difference == pytest.approx(-0.015)
    # Pooled share 0.5275: standard error sqrt(0.5275 x 0.4725 x 0.002) = 0.0223268, z = 0.67184.
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.671836), abs=1e-6)
    # (1.959964 + 0.841621) x 0.0223268.
    assert found.detectable == pytest.approx(0.0625505, abs=1e-6)
    assert found.word == "consistent"
    assert found.reason == "a true difference of 0.063 would be found in 80% of cases"


def test_a_share_far_from_the_published_one_is_not_consistent() -> None:
    found = judged(one("sft", "pair_acc", "0.5060"), sft=hits(452, 1000))
    # z = 0.054 / sqrt(0.479 x 0.521 x 0.002) = 2.4171.
    assert found.p_value == pytest.approx(0.015645, abs=1e-5)
    assert found.word == "not consistent"
    assert found.reason == "samples of one population differ by as much in under 5% of cases"


def test_a_mean_is_tested_with_its_own_spread() -> None:
    # Mean 0.12, standard deviation 2 / sqrt(3): t = 0.1 / (1.154701 x sqrt(1/4 + 1/12)) = 0.15.
    margins = np.array([1.0, -1.0, 1.0, -1.0]) + 0.12
    found = judged(one("baseline", "margin", "0.02", pairs=12), baseline=margins)
    assert found.measured == pytest.approx(0.12)
    assert found.difference == pytest.approx(0.1)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.15, 3))
    assert found.word == "consistent"
    far = judged(one("baseline", "margin", "-9.88", pairs=12), baseline=margins)
    assert far.p_value == pytest.approx(2 * stats.t.sf(15, 3))
    assert far.word == "not consistent"


def test_deltas_are_tested_by_the_change_of_each_pair() -> None:
    baseline = np.array([0.5, -0.5, -0.5, 0.5, 0.5])
    final = np.array([1.0, 0.5, 0.5, -0.5, 0.5])
    margin = judged(one("delta", "margin", "+0.10", 5), baseline=baseline, final=final)
    change = np.array([0.5, 1.0, 1.0, -1.0, 0.0])
    assert margin.measured == pytest.approx(0.3)
    error = change.std(ddof=1) * math.sqrt(2 / 5)
    assert margin.p_value == pytest.approx(2 * stats.t.sf(0.2 / error, 4))
    accuracy = judged(one("delta", "pair_acc", "-0.60", 5), baseline=baseline, final=final)
    gained = np.array([0, 1, 1, -1, 0])
    assert accuracy.measured == pytest.approx(0.2)
    error = gained.std(ddof=1) * math.sqrt(2 / 5)
    assert accuracy.p_value == pytest.approx(2 * stats.t.sf(0.8 / error, 4))


def test_a_pair_without_a_winner_is_no_hit() -> None:
    found = judged(one("final", "pair_acc", "0.5"), final=np.array([0.0, 1.0, -1.0, 0.0]))
    assert found.measured == 0.25


def test_other_settings_are_not_compared_and_all_are_named() -> None:
    values = one(
        "final", "pair_acc", "0.5", train__label_noise=0.25, train__objective="dpo", sft__epochs=2
    )
    found = judged(values, changed(data__revision=None), final=hits(5, 10))
    assert found.word == "not comparable"
    assert found.reason == "train.label_noise is 0.0 here, 0.25 there"
    run = changed(data__max_length=256, train__objective="kto", sft__epochs=0)
    assert judged(values, run, final=hits(5, 10)).reason == (
        "data.max_length is 256 here, 384 there; train.label_noise is 0.0 here, 0.25 there; "
        'train.objective is "kto" here, "dpo" there; sft.epochs is 0 here, 2 there'
    )
    nothing = (found.measured, found.difference, found.p_value, found.detectable)
    assert set(nothing) == {None}


def test_a_row_says_more_than_the_table() -> None:
    values = one("final", "pair_acc", "0.5", data__max_length=512)
    run = changed(data__max_length=512)
    assert judged(values, run, final=hits(500, 1000)).word == "consistent"


def test_neither_seed_nor_runtime_decides() -> None:
    values = published.read("gpt2-hh-rlhf", DIRECTORY)
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    here = judge(values, RUN, margins)
    run = changed(seed=7, precision="bf16", runtime__device="cpu", report__decimals=2)
    assert judge(values, run, margins) == here


def test_the_published_count_is_the_nearest() -> None:
    # As floats, 0.29 x 100 is below 29.
    found = judged(one("final", "pair_acc", "0.29", pairs=100), final=hits(29, 100))
    assert found.p_value == 1


# What has no spread.


def test_all_hits_on_both_sides_are_consistent() -> None:
    for count, value in ((20, "1.0"), (0, "0.0")):
        found = judged(one("final", "pair_acc", value), final=hits(count, 20))
        assert (found.p_value, found.word, found.detectable) == (1.0, "consistent", None)
        assert found.reason == "every measured pair has the same value, as published"


def test_all_hits_here_alone_are_tested() -> None:
    found = judged(one("final", "pair_acc", "0.5350"), final=hits(1000, 1000))
    assert found.word == "not consistent"
    assert found.detectable is not None


@pytest.mark.parametrize(
    ("value", "p_value", "word"),
    [("0.1", 1.0, "consistent"), ("0.10", 1.0, "consistent"), ("0.2", 0.0, "not consistent")],
)
def test_constant_margins_equal_the_published_one_or_not(
    value: str, p_value: float, word: str
) -> None:
    # The computed spread of seven times 0.1 is not exactly 0.
    found = judged(one("final", "margin", value), final=np.full(7, 0.1))
    assert (found.p_value, found.word, found.detectable) == (p_value, word, None)
    same = "as published" if p_value else "not as published"
    assert found.reason == f"every measured pair has the same value, {same}"


def test_what_rounding_explains_is_no_difference() -> None:
    near = judged(one("final", "margin", "0.12"), final=np.full(10, 0.1249))
    assert near.p_value == 1
    assert near.difference == pytest.approx(0.0049)
    assert judged(one("final", "margin", "0.12"), final=np.full(10, 0.1251)).p_value == 0


def test_a_model_that_did_not_change_is_compared_with_a_published_change() -> None:
    same = hits(5, 10)
    found = judged(one("delta", "pair_acc", "+0.0830"), baseline=same, final=same)
    assert (found.p_value, found.word) == (0.0, "not consistent")


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("metric", ["pair_acc", "margin"])
def test_fewer_than_two_pairs_are_not_tested(metric: str, count: int) -> None:
    found = judged(one("final", metric, "0.5"), final=np.ones(count))
    assert (found.word, found.p_value, found.measured) == ("not comparable", None, None)
    assert found.reason == "fewer than two measured pairs cannot tell how much pairs differ"


def test_of_no_pairs_no_epoch_is_tested_either() -> None:
    values = one("final", "pair_acc", "0.5")
    known = values.model_copy(update={"rows": [values.rows[0].model_copy(update={"epoch": 1})]})
    (found,) = judge(known, RUN, {"final": np.ones(0)}, {1: math.nan})
    assert (found.word, found.measured) == ("not comparable", None)


def test_two_pairs_are_tested() -> None:
    found = judged(one("final", "margin", "0.5"), final=np.array([0.0, 1.0]))
    assert (found.p_value, found.word) == (1.0, "consistent")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_margins_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        judged(one("final", "pair_acc", "0.5"), final=np.array([0.1, bad]))


# Against other implementations.


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [((520, 535), (1000, 1000)), ((170, 535), (300, 1000)), ((3, 452), (9, 1000))],
)
def test_the_test_of_shares_is_statsmodels(counts: tuple[int, int], sizes: tuple[int, int]) -> None:
    p_value, detectable = share_test(counts[0], sizes[0], counts[1], sizes[1])
    assert p_value == pytest.approx(proportions_ztest(counts, sizes)[1], rel=1e-9)
    effect = NormalIndPower().solve_power(
        nobs1=sizes[0], ratio=sizes[1] / sizes[0], alpha=LEVEL, power=POWER
    )
    share = sum(counts) / sum(sizes)
    assert detectable == pytest.approx(effect * math.sqrt(share * (1 - share)), rel=1e-4)


def test_judge_tests_shares_as_statsmodels_does() -> None:
    found = judged(one("final", "pair_acc", "0.5350"), final=hits(150, 300))
    assert found.p_value == pytest.approx(proportions_ztest([150, 535], [300, 1000])[1], rel=1e-9)


@pytest.mark.parametrize("pairs", [1000, 300])
def test_the_test_of_means_is_scipys_formula_for_one_spread(pairs: int) -> None:
    margins = skewed(np.random.default_rng(0), pairs)
    found = judged(one("sft", "margin", "0.0474"), sft=margins)
    spread = float(margins.std(ddof=1))
    theirs = stats.ttest_ind_from_stats(margins.mean(), spread, pairs, 0.0474, spread, 1000)
    # SciPy takes n1 + n2 - 2 degrees of freedom where this takes n1 - 1; the statistic is the same.
    p_value = 2 * stats.t.sf(abs(float(theirs.statistic)), pairs - 1)
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.001)


@pytest.mark.parametrize(("pairs", "there"), [(1000, 1000), (300, 1000), (11, 1000)])
def test_the_detectable_mean_is_statsmodels(pairs: int, there: int) -> None:
    detectable = mean_test(0.1, 0.6, pairs, there, freedom=pairs - 1)[1]
    effective = 1 / (1 / pairs + 1 / there)
    assert detectable is not None
    power = TTestPower().power(detectable / 0.6, effective, LEVEL, df=pairs - 1)
    assert power == pytest.approx(POWER, abs=0.002)


def test_seeds_that_vary_are_a_part_of_the_test() -> None:
    values = one("final", "margin", "0.30", pairs=400)
    margins = np.where(np.arange(400) % 2, 0.5, -0.3)
    alone = judged(values, final=margins)
    row = values.rows[0].model_copy(update={"seeds": Seeds(count=3, spread=0.06)})
    known = judged(values.model_copy(update={"rows": [row]}), final=margins)
    assert (alone.word, known.word) == ("not consistent", "consistent")
    # A difference of -0.2 over pairs of variance 0.16 x 400 / 399: sqrt(2 / 400) of it, and seeds.
    pairs, seeds = 0.16 * 400 / 399 * 2 / 400, 2 * 0.06**2
    assert known.p_value is not None
    t = [stats.t.isf(known.p_value / 2, freedom) for freedom in (399, 2)]
    assert math.sqrt(t[0] ** 2 * pairs + t[1] ** 2 * seeds) == pytest.approx(0.2)
    assert known.reason.endswith(
        " would be found in 80% of cases; runs are taken to vary by 0.06 from seed to seed, "
        "as 3 seeds showed"
    )
    assert explanation([known], 400, 400).endswith("vary so, on top of their pairs.")
    assert "vary so" not in explanation([alone], 400, 400)


def test_seeds_that_do_not_vary_change_nothing() -> None:
    still = Seeds(count=5, spread=0.0)
    assert share_test(520, 1000, 535, 1000, still) == share_test(520, 1000, 535, 1000)
    assert mean_test(0.1, 0.6, 50, 90, 49, still) == mean_test(0.1, 0.6, 50, 90, 49)
    # As they vary less and less, the test becomes the one without them.
    nearly = mean_test(0.1, 0.6, 50, 90, 49, Seeds(count=5, spread=1e-9))
    assert nearly == pytest.approx(mean_test(0.1, 0.6, 50, 90, 49))


# How often the tests are right, in 10,000 draws each.


@pytest.mark.parametrize(("count", "spread"), [(3, 0.04), (3, 0.005), (5, 0.04)])
def test_runs_whose_seeds_vary_are_called_different_in_5_percent_or_fewer(
    count: int, spread: float
) -> None:
    """The spread is estimated anew from so many other seeds; without it far more are."""
    generator, draws = np.random.default_rng(0), 1000
    here, there = SHARE + spread * generator.standard_normal((2, draws))
    hits, published = generator.binomial(1000, [here, there])
    estimated = spread * np.sqrt(generator.chisquare(count - 1, draws) / (count - 1))
    rejected, alone = 0, 0
    for a, b, known in zip(hits.tolist(), published.tolist(), estimated.tolist(), strict=True):
        seeds = Seeds(count=count, spread=known)
        rejected += share_test(a, 1000, b, 1000, seeds)[0] < LEVEL
        alone += share_test(a, 1000, b, 1000)[0] < LEVEL
    assert 0.01 < rejected / draws < 0.075
    assert rejected <= alone
    assert spread < 0.01 or alone / draws > 0.25


@SIZES
def test_shares_of_one_population_are_called_different_in_5_percent(pairs: int) -> None:
    here, there = np.random.default_rng(0).binomial([[pairs], [1000]], SHARE, (2, DRAWS))
    assert_level([share_test(a, pairs, b, 1000)[0] for a, b in zip(here, there, strict=True)])


@SIZES
def test_means_of_one_population_are_called_different_in_5_percent(pairs: int) -> None:
    generator = np.random.default_rng(0)
    assert_level(mean_p_values(lambda *size: skewed(generator, *size), pairs))


@SIZES
def test_deltas_of_one_population_are_called_different_in_5_percent(pairs: int) -> None:
    generator = np.random.default_rng(0)

    def margin(*size: int) -> np.ndarray:
        baseline = skewed(generator, *size)
        return baseline * generator.normal(1.2, 0.3, size) + 0.1 - baseline

    def accuracy(*size: int) -> np.ndarray:
        drawn = generator.random(size)
        return (drawn < 0.233).astype(float) - (drawn > 0.85)

    assert_level(mean_p_values(margin, pairs))
    assert_level(mean_p_values(accuracy, pairs))


def mean_p_values(draw: Callable[..., np.ndarray], pairs: int, shift: float = 0.0) -> list[float]:
    """P-values of as many measured against published samples, which lie `shift` apart."""
    p_values = []
    for _ in range(DRAWS // 100):
        here, there = draw(100, pairs) + shift, draw(100, 1000)
        differences, spreads = here.mean(axis=1) - there.mean(axis=1), here.std(axis=1, ddof=1)
        for difference, spread in zip(differences, spreads, strict=True):
            p_values.append(mean_test(difference, spread, pairs, 1000, freedom=pairs - 1)[0])
    return p_values


def test_a_faithful_rerun_on_other_pairs_fails_each_row_in_5_percent() -> None:
    generator = np.random.default_rng(0)
    rows = [(model, metric) for model in ("final", "delta") for metric in ("pair_acc", "margin")]
    p_values: dict[tuple[str, str], list[float]] = {row: [] for row in rows}
    for _ in range(2000):
        here, there = population(generator, 300), population(generator, 1000)
        change = there["final"] - there["baseline"]
        gained = (there["final"] > 0).astype(float) - (there["baseline"] > 0)
        means = [(there["final"] > 0).mean(), there["final"].mean(), gained.mean(), change.mean()]
        values = Published.model_construct(
            source="Made up.",
            pairs=1000,
            settings={},
            rows=[
                stated(model, metric, f"{mean:.4f}")
                for (model, metric), mean in zip(rows, means, strict=True)
            ],
        )
        for found in judge(values, RUN, here):
            assert found.p_value is not None
            assert (found.p_value < LEVEL) == (found.word == Word.INCONSISTENT)
            p_values[found.row.model, found.row.metric].append(found.p_value)
    for row in rows:
        assert_level(p_values[row])


def population(generator: np.random.Generator, pairs: int) -> dict[str, np.ndarray]:
    """Margins of two models on the same pairs, which agree more than chance has it."""
    baseline = skewed(generator, pairs) - 0.19
    return {"baseline": baseline, "final": baseline + skewed(generator, pairs)}


@SIZES
def test_a_detectable_difference_of_shares_is_found_in_80_percent(pairs: int) -> None:
    shift = share_test(round(SHARE * pairs), pairs, 535, 1000)[1]
    assert shift is not None
    generator = np.random.default_rng(0)
    here, there = generator.binomial([[pairs], [1000]], [[SHARE + shift], [SHARE]], (2, DRAWS))
    p_values = [share_test(a, pairs, b, 1000)[0] for a, b in zip(here, there, strict=True)]
    assert np.mean(np.array(p_values) < LEVEL) == pytest.approx(POWER, abs=0.02)


@SIZES
def test_a_detectable_difference_of_means_is_found_in_80_percent(pairs: int) -> None:
    shift = mean_test(0.0, 0.6, pairs, 1000, freedom=pairs - 1)[1]
    assert shift is not None
    generator = np.random.default_rng(0)
    p_values = mean_p_values(lambda *size: generator.normal(0.12, 0.6, size), pairs, shift)
    assert np.mean(np.array(p_values) < LEVEL) == pytest.approx(POWER, abs=0.02)


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_detectable_difference_of_skewed_means_is_found_nearly_as_often(direction: int) -> None:
    shift = mean_test(0.0, 0.6, 300, 1000, freedom=299)[1]
    assert shift is not None
    generator = np.random.default_rng(0)
    p_values = mean_p_values(lambda *size: skewed(generator, *size), 300, direction * shift)
    assert np.mean(np.array(p_values) < LEVEL) == pytest.approx(POWER, abs=0.05)


def test_on_the_same_pairs_the_tests_err_on_the_side_of_consistent() -> None:
    generator = np.random.default_rng(0)
    shares, means = 0, 0
    for _ in range(DRAWS):
        there = skewed(generator, 1000)
        here = there + generator.normal(0, 0.3, 1000)
        # Both runs are a step away from what they have in common.
        there += generator.normal(0, 0.3, 1000)
        counts = int((here > 0).sum()), int((there > 0).sum())
        shares += share_test(counts[0], 1000, counts[1], 1000)[0] < LEVEL
        difference, spread = float(here.mean() - there.mean()), float(here.std(ddof=1))
        means += mean_test(difference, spread, 1000, 1000, freedom=999)[0] < LEVEL
    assert max(shares, means) / DRAWS < LEVEL / 2


# In words.


def verdicts(*words: Word) -> list[Verdict]:
    return [Verdict(stated("final", f"metric{i}", "0.50"), w, "why") for i, w in enumerate(words)]


C, N, X = Word
TITLES = {"baseline": "baseline", "sft": "SFT", "final": "SFT + DPO"}
PLAIN = {"final": "final"}


def test_the_headline_to_the_letter() -> None:
    assert headline(verdicts(C, C, N, X), PLAIN) == (
        "Consistent with the published values: 2 of 3 comparable rows. Not consistent: 1 (final "
        "metric2). Not comparable, as the table explains: 1."
    )
    assert "Not consistent: 1 (SFT + DPO metric0). " in headline(verdicts(N), TITLES)


def test_the_explanation_states_test_level_and_samples() -> None:
    text = explanation(verdicts(X, C), 20, 10)
    assert text.startswith(
        "Each row is tested by itself, two-sided at the 5% level, with 20 measured pairs against "
        "10 published: shares by the pooled z-test of two shares, means and deltas by the t-test "
        "of two means, for which the published pairs are taken to spread as the measured ones do. "
    )
    assert "it does not prove the two equal" in text
    assert "seed, device and rounding is no part of it" in text
    assert explanation(verdicts(X, X), 20, 10) == ""


def test_the_headline_counts() -> None:
    assert headline(verdicts(C, C), PLAIN) == (
        "Consistent with the published values: 2 of 2 comparable rows. Not consistent: 0. "
        "Not comparable, as the table explains: 0."
    )
    assert headline(verdicts(N, N), PLAIN).startswith(
        "Consistent with the published values: 0 of 2 comparable rows. Not consistent: 2 (final "
        "metric0, final metric1). "
    )


def test_the_headline_claims_nothing_where_nothing_was_tested() -> None:
    assert headline(verdicts(X, X), PLAIN) == (
        "None of the 2 published values is comparable with this run, so nothing was tested and "
        "nothing can be said of their reproduction; the table says why."
    )


def test_rows_to_the_letter() -> None:
    found = [
        Verdict(stated("sft", "margin", "-0.0700"), C, "near", -0.08, -0.01, 0.25, 0.1),
        Verdict(stated("delta", "pair_acc", "+0.0830"), N, "far", 0.2, 0.117, 0.0001, 0.1),
        Verdict(stated("final", "margin", "0.0870"), X, 'data.source is "a|b" here'),
    ]
    titles = TITLES | {"delta": "delta"}
    rows = [cells(verdict, titles, decimals=3) for verdict in found]
    told = Outcome("All is well.", rows, "A paper.", "How it was tested.")
    assert (
        results.table(results.Rows((), [], [], []), told, Health("", "", [])).partition("All is")[2]
        == """\
 well.

| model | metric | published | measured | difference | p-value | verdict | why |
| --- | --- | ---: | ---: | ---: | ---: | --- | --- |
| SFT | margin | -0.0700 | -0.080 | -0.010 | 0.250 | consistent | near |
| delta | pair_acc | +0.0830 | +0.200 | +0.117 | < 0.001 | not consistent | far |
| SFT + DPO | margin | 0.0870 | n/a | n/a | n/a | not comparable | data.source is "a\\|b" here |

Published: A paper.

How it was tested.
"""
    )


# The published results of this project.


def test_the_published_rows_are_judged_where_the_run_is_theirs() -> None:
    generator = np.random.default_rng(0)
    margins = population(generator, 1000)
    margins["sft"] = margins["baseline"] + 0.1
    found = judge(published.read("gpt2-hh-rlhf", DIRECTORY), RUN, margins)
    tested = [v for v in found if v.word != Word.INCOMPARABLE]
    assert [(v.row.model, v.row.metric, v.row.value) for v in tested] == [
        ("baseline", "pair_acc", "0.4520"),
        ("baseline", "margin", "-0.0700"),
        ("sft", "pair_acc", "0.5060"),
        ("sft", "margin", "0.0474"),
        ("final", "pair_acc", "0.5350"),
        ("final", "margin", "0.1228"),
        ("delta", "pair_acc", "+0.0830"),
        ("delta", "margin", "+0.1928"),
    ]
    assert all(v.p_value is not None and v.detectable for v in tested)
    flipped = [(v.row.value, v.reason) for v in found if v not in tested and not v.row.epoch]
    assert flipped == [
        (value, f"train.label_noise is 0.0 here, {noise} there")
        for noise, values in {
            0.25: ("0.5200", "0.0870"),
            0.5: ("0.5130", "0.0452"),
            0.75: ("0.4780", "-0.0281"),
            1.0: ("0.4340", "-0.1590"),
        }.items()
        for value in values
    ]


DOCS = (ROOT / "docs/published.md").read_text()


def test_every_published_row_has_a_command_whose_run_it_is_compared_with() -> None:
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    values, tested = published.read("gpt2-hh-rlhf", DIRECTORY), set[int]()
    commands = re.findall(r"`(make repro RECIPE=published-dpo-gpt2|dvc exp run .*?)`", DOCS)
    assert len(set(commands)) == 5
    for command in commands:
        settings = dict(re.findall(r"-S (\S+)=(\S+)", command))
        run = changed(**{k.replace(".", "__"): float(v) for k, v in settings.items()})
        found = judge(values, run, margins, dict.fromkeys(range(1, 6), 0.5))
        tested |= {i for i, v in enumerate(found) if v.word != Word.INCOMPARABLE}
    assert tested == set(range(len(values.rows)))


def test_a_part_of_an_epoch_is_none() -> None:
    """As where `train.max_steps` ended the second."""
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    found = judge(published.read("gpt2-hh-rlhf", DIRECTORY), RUN, margins, {1.0: 0.52, 1.5: 0.9})
    one, two = (next(v for v in found if v.row.epoch == epoch) for epoch in (1, 2))
    assert one.measured == 0.52
    assert (two.word, two.reason) == (Word.INCOMPARABLE, "the curves of this run have no epoch 2")


def test_the_published_values_by_epoch_are_those_of_the_page() -> None:
    """And the last of them is the row at the end of training."""
    rows = published.read("gpt2-hh-rlhf", DIRECTORY).rows
    shown = re.findall(r"^\| (\d+)% \| (.*?) \| `", DOCS, re.M)
    assert len(shown) == 5
    for flipped, values in shown:
        *by_epoch, last = values.split(" | ")
        own = [
            row
            for row in rows
            if row.settings.get("train.label_noise") == int(flipped) / 100
            and (row.model, row.metric) == ("final", "pair_acc")
        ]
        assert [row.value for row in own if row.epoch] == by_epoch
        assert [float(row.value) for row in own if not row.epoch] == [float(last)]


def test_the_page_shows_each_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    margins = {"baseline": hits(459, 1000), "sft": hits(430, 1000), "final": hits(520, 1000)}
    rows = outcome(RUN, margins, TITLES, {}).rows
    picked = [rows[0], rows[2], rows[-1]]
    assert [row[-2] for row in picked] == ["consistent", "not consistent", "not comparable"]
    table = "\n".join(markdown.table(COLUMNS, picked))
    assert DOCS.split("<!-- outcomes -->\n")[1].split("\n<!-- end")[0] == table


def test_a_run_with_flipped_labels_has_its_own_rows() -> None:
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    values = published.read("gpt2-hh-rlhf", DIRECTORY)
    found = judge(values, changed(train__label_noise=0.75), margins)
    tested = [v.row.value for v in found if v.word != Word.INCOMPARABLE]
    assert tested == ["0.4520", "-0.0700", "0.5060", "0.0474", "0.4780", "-0.0281"]


def test_nothing_published_is_comparable_with_the_demo() -> None:
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    found = judge(published.read("gpt2-hh-rlhf", DIRECTORY), DEMO, margins)
    assert {v.word for v in found} == {Word.INCOMPARABLE}
    assert all(
        'model.base is "scratch" here, "openai-community/gpt2" there' in v.reason for v in found
    )
    titles = TITLES | {"delta": "delta"}
    assert headline(found, titles).startswith("None of the 36 published values is comparable")


def test_the_report_says_what_the_verdicts_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    margins = {name: hits(500, 1000) for name in ("baseline", "sft", "final")}
    nothing = outcome(DEMO, margins, TITLES, {})
    assert nothing == Outcome(NOTHING_PUBLISHED)
    found = outcome(RUN, margins, TITLES, {1: 0.5, 2: 0.53, 3: 0.6})
    assert found.headline.startswith("Consistent with the published values: ")
    assert "(baseline pair_acc, " in found.headline
    assert found.source.startswith("The published run of GPT-2")
    assert "with 1000 measured pairs against 1000 published" in found.explanation
    assert [row[0] for row in found.rows[:8:2]] == ["baseline", "SFT", "SFT + DPO", "delta"]
    # 0.5 against 0.452: z = 0.048 / sqrt(0.476 x 0.524 x 0.002) = 2.149.
    p_value = f"{2 * stats.norm.sf(2.1492):.3f}"
    assert found.rows[0][1:7] == [
        "pair_acc", "0.4520", "0.5000", "+0.0480", p_value, "not consistent"
    ]  # fmt: skip
    # Of 1,000 pairs 530 here, 531 there; 600 here, 534 there.
    near = "a true difference of 0.063 would be found in 80% of cases"
    far = "samples of one population differ by as much in under 5% of cases"
    assert [row[1:] for row in found.rows[8:11]] == [
        ["pair_acc, epoch 1", "0.523", "0.5000", "-0.0230", "0.304", "consistent", near],
        ["pair_acc, epoch 2", "0.531", "0.5300", "-0.0010", "0.964", "consistent", near],
        ["pair_acc, epoch 3", "0.534", "0.6000", "+0.0660", "0.003", "not consistent", far],
    ]
    assert found.rows[11:] == [
        ["SFT + DPO", *row[:2], *["n/a"] * 3, "not comparable", row[2]]
        for row in (
            ("6 values", "", "train.label_noise is 0.0 here, 0.25 there"),
            ("6 values", "", "train.label_noise is 0.0 here, 0.5 there"),
            ("6 values", "", "train.label_noise is 0.0 here, 0.75 there"),
            ("6 values", "", "train.label_noise is 0.0 here, 1.0 there"),
            ("pair_acc, epoch 4", "0.533", "the curves of this run have no epoch 4"),
        )
    ]
    text = results.table(results.Rows((), [], [], []), found, Health("", "", []))
    assert f"\nPublished: {found.source}\n" in text
    assert text.endswith(f"\n{found.explanation}\n")
