"""Several seeds together: groups, tables and chart by value, on scores that are made up."""

import math
from typing import Any

import numpy as np
import pytest

from preference.core.errors import InputError
from preference.evaluation import crossed
from preference.report import charts
from preference.store.index import Index
from preference.store.scores import Scores
from tools.sweep import seeds
from tools.sweep.follow import Outcome
from tools.sweep.outcomes import Outcomes
from tools.sweep.study import Study, Variant

PAIRS = 60


def study(x: str = "seed", **runs: object) -> Study:
    values = {"seed": [1, 2, 3], **runs}
    return Study.model_validate(
        {
            "title": "by seed",
            "x": {"param": x, "title": "x"},
            "view": "seeds",
            "runs": [{key.replace("__", "."): value for key, value in values.items()}],
        }
    )


def scores(margins: np.ndarray, *, labelled: bool = False) -> Scores:
    """Of pairs with these margins; or of as many desirable and undesirable responses."""
    count = len(margins)
    index = Index(
        rows=np.arange(count),
        prompt_of=np.repeat(np.arange(count), 2),
        pairs=np.arange(0 if labelled else 2 * count).reshape(-1, 2),
        labels=np.tile([1, 0], count) if labelled else np.full(2 * count, -1),
        weights=np.ones(2 * count),
    )
    logps = np.stack([margins, np.zeros(count)], axis=1).reshape(-1)
    return Scores(index, logps, np.ones(2 * count, dtype=int))


def outcome(level: float, seed: int, base: float = 0.0, *, labelled: bool = False) -> Outcome:
    """Margins about a level, of which a part is that of the pairs, and a part the seed's own."""
    pairs = np.random.default_rng(0).standard_normal(PAIRS)
    own = np.random.default_rng([seed, round(10 * level)]).standard_normal(PAIRS)
    margins = {"baseline": base + pairs, "sft": pairs + own / 2, "final": level + pairs + own / 2}
    found = {name: scores(values, labelled=labelled) for name, values in margins.items()}
    accuracy = float(np.mean(margins["final"] > 0))
    ends = {"": 0.0, "_low": -0.1, "_high": 0.1}
    final: dict[str, Any] = {"pairs": 0 if labelled else PAIRS}
    for metric in ("pair_acc", "margin", "auc", "label_margin"):
        final |= {f"{metric}{end}": accuracy + more for end, more in ends.items()}
    metrics: dict[str, dict[str, Any]] = {
        "baseline": {"pair_acc": 0.5, "auc": 0.5},
        "sft": {"pair_acc": seed, "auc": seed},
        "final": final,
    }
    return Outcome(10.0, {"train": 8.0}, ["prepare"], metrics, scores=found)


def variant(seed: int, x: Any, series: str = "DPO") -> Variant:
    return Variant(f"{series}-{x}-seed-{seed}", x, series, {"seed": seed})


def one() -> Outcomes:
    """A variant with three seeds, and one that failed."""
    found = [(variant(seed, seed), outcome(0.5, seed)) for seed in (1, 2, 3)]
    return [*found, (variant(4, 4), Outcome(3.0, {}, error="the loss is nan"))]


def two() -> Outcomes:
    levels = (("DPO", 0.3), ("KTO", 0.6))
    return [
        (variant(seed, seed, series), outcome(level, seed))
        for seed in (1, 2, 3)
        for series, level in levels
    ]


def cells(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return [row.removeprefix("| ").removesuffix(" |").split(" | ") for row in rows]


def test_runs_of_a_variant_are_a_group() -> None:
    (group,) = seeds.groups(one(), study())
    assert (group.title, list(group.found), group.normalize) == ("DPO", [1, 2, 3], True)
    (hits,) = group.samples("final")["pair_acc"]
    assert hits.shape == (3, PAIRS)
    np.testing.assert_array_equal(
        hits[1], outcome(0.5, 2).scores["final"].of_pairs(normalize=True)[0] > 0
    )
    found = [(variant(1, 0.5), outcome(0.5, 1)), (variant(1, 1.0), outcome(0.5, 1))]
    titles = [group.title for group in seeds.groups(found, study("train.beta"))]
    assert titles == ["DPO, beta-0.5", "DPO, beta-1"]


def test_other_test_data_cannot_be_compared() -> None:
    other = Outcome(1.0, {}, scores={"final": scores(np.zeros(5))})
    with pytest.raises(InputError, match=r"different test data.*must leave data\.\* "):
        seeds.groups([*one(), (variant(5, 5), other)], study())


def test_table_of_one_variant() -> None:
    text = seeds.table(one(), study(), {}, decimals=3)
    rows = {(row[0], row[1]): row for row in cells(text)}
    found = [outcome(0.5, seed).scores["final"] for seed in (1, 2, 3)]
    value = crossed.estimate(crossed.samples(found, normalize=True)["pair_acc"])
    sure = value.difference((0, 1))
    interval = f"{sure.low:.3f} to {sure.high:.3f}"
    spread = [f"{value.over_seeds:.3f}", f"{math.sqrt(value.spread.seed):.3f}"]
    assert rows["DPO", "pair_acc"][2:] == [f"{value.value:.3f}", interval, *spread]
    # The baseline is the same with all seeds.
    assert rows["baseline", "margin"][4:] == ["0.000", "0.000"]
    # Of the margin, seed and pair cancel out against SFT: 0.5 is left, for sure.
    assert rows["DPO - SFT", "margin"][2:5] == [
        "+0.500",
        "+0.500 to +0.500",
        "< 0.001",
    ]
    assert "Over 60 test pairs; seeds of DPO: 1, 2, 3." in text
    assert "two variants like DPO" in text
    assert "`DPO-4-seed-4` failed: the loss is nan" in text
    assert "3 of 6 stage runs were reused" in text


def test_two_variants_are_compared_by_seed_and_pair() -> None:
    text = seeds.table(two(), study(train__objective=["dpo", "kto"]), {}, decimals=4)
    rows = {(row[0], row[1]): row for row in cells(text)}
    gap = [
        outcome(0.6, s).scores["final"].logps[::2] - outcome(0.3, s).scores["final"].logps[::2]
        for s in (1, 2, 3)
    ]
    value = crossed.estimate([np.stack(gap)])
    sure = value.difference()
    assert rows["KTO - DPO", "margin"][2:5] == [
        f"{sure.difference:+.4f}",
        f"{sure.low:+.4f} to {sure.high:+.4f}",
        "< 0.001" if sure.p_value < 0.001 else f"{sure.p_value:.3f}",
    ]
    needed = next(row for row in cells(text) if row[0] == "KTO - DPO" and len(row) == 6)
    assert all(cell == "no number" or int(cell.replace(",", "")) for cell in needed[1:])
    assert "two variants like" not in text


def test_seeds_that_do_not_differ_tell_nothing_of_others() -> None:
    found = [(variant(s, s), outcome(0.5, 1)) for s in (1, 2, 3)]
    text = seeds.table(found, study(), {}, decimals=3)
    row = next(row for row in cells(text) if row[0].startswith("two variants like"))
    assert row[1:] == ["unknown"] * 5
    assert "Where seeds came to the same everywhere, nothing tells how others would vary." in text
    assert "to the same everywhere" not in seeds.table(one(), study(), {}, decimals=3)


def test_a_single_seed_tells_nothing() -> None:
    text = seeds.table(one()[:1], study(), {}, decimals=3)
    assert cells(text)[-1][3:] == ["n/a to n/a", "n/a", "n/a", "n/a"]
    assert "One seed tells nothing" in text


def test_where_all_failed_it_says_why() -> None:
    text = seeds.table(one()[-1:], study(), {}, decimals=3)
    assert "`DPO-4-seed-4` failed: the loss is nan" in text


def test_without_pairs_it_is_the_auc() -> None:
    found = [(variant(s, s), outcome(0.5, s, labelled=True)) for s in (1, 2, 3)]
    text = seeds.table(found, study(), {}, decimals=3)
    assert {row[1] for row in cells(text)[1:4]} == {"auc", "label_margin"}
    assert "to show 0.02 of auc" in text
    assert "responses, with 5 seeds" in text
    assert "test auc" in charts.svg(seeds.chart(found, study()))


def test_chart_by_seed_ends_with_the_mean() -> None:
    spec = seeds.chart(one(), study())
    rows = spec["data"]["values"]
    assert [row["at"] for row in rows] == ["1", "2", "3", "mean"]
    assert rows[-1]["value"] == pytest.approx(np.mean([row["value"] for row in rows[:-1]]))
    levels, *layers = spec["layer"]
    assert [level["title"] for level in levels["data"]["values"]] == ["baseline"]
    # Seeds have no order: no line joins them.
    assert [layer["mark"]["type"] for layer in layers] == ["rule", "point"]


def test_chart_by_another_param_has_the_means() -> None:
    found = [(variant(seed, x), outcome(x, seed)) for seed in (1, 2, 3) for x in (0.25, 1.0)]
    spec = seeds.chart(found, study("train.beta"))
    rows = spec["data"]["values"]
    assert [row["at"] for row in rows] == ["0.25", "1.0"]
    for row, x in zip(rows, (0.25, 1.0), strict=True):
        hits = [outcome(x, s).scores["final"].logps[::2] > 0 for s in (1, 2, 3)]
        assert row["value"] == pytest.approx(np.mean(hits))
        assert row["low"] < row["value"] < row["high"]
    assert [layer["mark"]["type"] for layer in spec["layer"][1:]] == ["line", "rule", "point"]
