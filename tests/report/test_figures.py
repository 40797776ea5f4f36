"""Which charts the report has, and that each shows the values that it is about."""

import math
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from report_cases import (
    NAMES,
    dialogue,
    dialogues,
    labelled,
    results_of,
    scores_of,
    write_curve,
    write_estimates,
)
from settings import params

from preference.report import charts, figures
from preference.store.scores import Scores
from preference.store.texts import Text


def shown(results: figures.Results, section: str) -> dict[str, charts.Spec]:
    """The charts of a section by caption."""
    return {figure.caption: figure.spec for figure in figures.figures(results)[section]}


def values(spec: charts.Spec) -> list[dict[str, Any]]:
    return spec["data"]["values"]


def three(texts: list[Text], *chosen: list[float]) -> dict[str, Scores]:
    """Scores of models by their chosen responses' sums; rejected ones have 0, all have 2 tokens."""
    counts = [2] * len(texts)
    zeros = [0.0] * len(texts)
    found = [naive.make_scores((sums, counts), (zeros, counts)) for sums in chosen]
    return dict(zip(NAMES, found, strict=True))


def test_every_section_has_charts(tmp_path: Path) -> None:
    for stage in ("sft", "train"):
        write_curve(tmp_path, stage, "steps", "loss", [0.5, 0.25])
    write_estimates(tmp_path, "train", "pair_acc", [0.5, 0.75], 0.1)
    found = figures.figures(results_of(tmp_path, dialogues(60)))
    assert list(found) == [
        "progress",
        "training",
        "margins",
        "bias",
        "calibration",
        "deviation",
    ]
    for drawn in found.values():
        assert drawn
        for figure in drawn:
            assert charts.svg(figure.spec).startswith("<svg")


def test_the_policys_curve_goes_on_where_that_of_sft_ends(tmp_path: Path) -> None:
    texts = dialogues(4)
    scores = three(texts, [2.0, -2.0, -2.0, -2.0], [0.0] * 4, [0.0] * 4)
    results = results_of(tmp_path, texts, scores)
    write_estimates(tmp_path, "sft", "pair_acc", [0.25, 0.5], 0.25)
    for end, curve in (("", [0.1, 0.2]), ("_low", [0.05, 0.15]), ("_high", [0.15, 0.25])):
        write_curve(tmp_path, "sft", "epochs", f"pair_acc{end}_sum", curve)
    write_estimates(tmp_path, "train", "pair_acc", [0.5, 0.75, 1.0], 0.125)
    write_estimates(tmp_path, "train", "margin", [0.5, 0.75, 1.0], 0.125)
    spec = shown(results, "progress")["Test pair_acc by epoch"]
    assert [(r["series"], r["at"], r["value"], r["low"], r["high"]) for r in values(spec)] == [
        ("SFT", 0, 0.25, 0.0, 0.5),
        ("SFT", 1, 0.5, 0.25, 0.75),
        ("SFT + DPO", 1, 0.5, 0.375, 0.625),
        ("SFT + DPO", 2, 0.75, 0.625, 0.875),
        ("SFT + DPO", 3, 1.0, 0.875, 1.125),
    ]
    assert {row["pairs"] for row in values(spec)} == {4}
    assert "baseline: 0.2500" in charts.svg(spec)
    # SFT writes both ways of scoring; the report takes the one that counts.
    settings = params("fp32", "cpu")
    sums = settings.model_copy(
        update={"scoring": settings.scoring.model_copy(update={"length_normalize": False})}
    )
    found = shown(results_of(tmp_path, texts, scores, sums), "progress")
    by_epoch = values(found["Test pair_acc by epoch"])
    assert [row["value"] for row in by_epoch] == [0.1, 0.2, 0.5, 0.75, 1.0]
    assert [row["low"] for row in by_epoch] == [0.05, 0.15, 0.375, 0.625, 0.875]
    assert "baseline: -1.0000" in charts.svg(found["Test margin by epoch"])


def test_of_a_validation_part_neither_baseline_nor_count_is_known(tmp_path: Path) -> None:
    write_estimates(tmp_path, "train", "pair_acc", [0.5, 0.75], 0.1)
    settings = params("fp32", "cpu")
    train = settings.train.model_copy(update={"evaluate": "validation"})
    results = results_of(
        tmp_path, dialogues(4), settings=settings.model_copy(update={"train": train})
    )
    (spec,) = shown(results, "progress").values()
    assert {row["pairs"] for row in values(spec)} == {None}
    drawn = charts.svg(spec)
    assert "SFT + DPO, epoch 1: 0.750 (95% interval 0.650 to 0.850)" in drawn
    assert "baseline" not in drawn


def test_without_curves_there_is_nothing_by_epoch_or_step(tmp_path: Path) -> None:
    results = results_of(tmp_path, dialogues(30))
    assert shown(results, "progress") == shown(results, "training") == {}
    assert "by epoch" not in figures.overview(results)


def test_training_has_the_curves_that_there_are(tmp_path: Path) -> None:
    write_curve(tmp_path, "sft", "steps", "loss", [0.5, 0.25])
    write_curve(tmp_path, "train", "steps", "loss", [1.0, 3.0] * 200)
    write_curve(tmp_path, "train", "steps", "grad_norm", [2.0])
    found = shown(results_of(tmp_path, dialogues(4)), "training")
    assert list(found) == ["SFT: loss", "DPO: loss, means of 3 steps", "DPO: gradient norm"]
    assert [(row["x"], row["y"]) for row in values(found["SFT: loss"])] == [(1, 0.5), (2, 0.25)]
    thinned = values(found["DPO: loss, means of 3 steps"])
    assert len(thinned) == figures.POINTS
    assert [row["series"] for row in thinned] == ["SFT + DPO"] * figures.POINTS


def test_accuracy_by_kind_of_pair(tmp_path: Path) -> None:
    """Twenty times the two pairs of a ranking, then a dialogue of two turns."""
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    texts = [
        Text(0, "a", [("user", "a")], ["x", "y", "z"], [(0, 1), (0, 2)]),
        Text(1, "a b c", turns, ["x", "y"], [(1, 0)]),
    ] * 20
    pairs = [(5 * n + a, 5 * n + b) for n in range(20) for a, b in ((0, 1), (0, 2), (4, 3))]
    index = naive.make_index([3, 2] * 20, pairs)
    logps, tokens = np.array([-2.0, -1.0, -3.0, -1.0, -2.0]), np.array([1, 2, 1, 1, 4])
    logps, tokens = np.tile(logps, 20), np.tile(tokens, 20)
    # Means of the first -2, -0.5, -3, -1, -0.5: right in the second and in the third pair.
    some, none = Scores(index, logps, tokens), Scores(index, np.zeros(100), tokens)
    results = results_of(tmp_path, texts, dict(zip(NAMES, (some, none, none), strict=True)))
    found = shown(results, "bias")
    by_length = values(found["By how much longer the chosen response is"])
    assert [(r["at"], r["value"], r["pairs"]) for r in by_length if r["series"] == "baseline"] == [
        ("1 shorter", 0.0, 20),
        ("equal", 1.0, 20),
        ("2 to 3 longer", 1.0, 20),
    ]
    by_turns = values(found["By the human's turns"])
    assert [(r["at"], r["value"], r["pairs"]) for r in by_turns if r["series"] == "baseline"] == [
        ("1", 0.5, 40),
        ("2", 1.0, 20),
    ]
    assert {row["value"] for row in by_turns if row["series"] != "baseline"} == {0.0}


def test_captions_say_what_is_joined_or_left_out(tmp_path: Path) -> None:
    # Of 59 pairs, all of one turn, some side of the lengths has few enough to be joined.
    found = list(shown(results_of(tmp_path, dialogues(59)), "bias"))
    assert found[0].startswith(
        "By how much longer the chosen response is; "
        "neighbouring groups of fewer than 20 pairs joined"
    )
    assert found[1] == "By the human's turns"
    assert shown(results_of(tmp_path, dialogues(19)), "bias") == {}


def test_deviation_is_the_mean_log_ratio_to_the_reference(tmp_path: Path) -> None:
    texts = [dialogue(row, "a", "b", "c") for row in range(2)]
    results = results_of(tmp_path, texts, three(texts, [9.0, 9.0], [-2.0, -4.0], [-4.0, -10.0]))
    found = shown(results, "deviation")
    assert list(found) == ["After training"]
    (chosen, rejected) = values(found["After training"])
    assert (chosen["series"], chosen["value"], chosen["pairs"]) == ("chosen", -2.0, 2)
    assert (rejected["series"], rejected["value"]) == ("rejected", 0.0)
    for side, curve in (("chosen", [0.0, -2.0]), ("rejected", [0.0, 0.5])):
        write_estimates(tmp_path, "train", f"{side}_log_ratio", curve, 0.25)
    found = shown(results, "deviation")
    assert list(found) == ["By epoch", "After training"]
    rows = values(found["By epoch"])
    assert [row["value"] for row in rows] == [0.0, -2.0, 0.0, 0.5]
    assert [row["high"] for row in rows] == [0.25, -1.75, 0.25, 0.75]
    # The two sides are no models.
    assert not set(figures.SIDES) & set(results.colours.values())
    for spec in found.values():
        drawn = charts.svg(spec)
        assert all(colour in drawn for colour in figures.SIDES)


def test_calibration_is_that_of_the_policy(tmp_path: Path) -> None:
    texts = [dialogue(row, "a", "b", "c") for row in range(2)]
    results = results_of(tmp_path, texts, three(texts, [9.0, 9.0], [0.0, 0.0], [40.0, -40.0]))
    found = shown(results, "calibration")
    # At beta 0.1 the log-odds are 2 and -2: sure of both to 0.8808, and right in one. Of samples of
    # the two some are right in both: the interval ends at 2 x 0.3808 - 0.1192.
    assert list(found) == [
        f"sigmoid(beta x margin), {way}; calibration error 0.381 (95% interval 0.000 to 0.642), "
        "all pairs in one group"
        for way in ("against the reference", "policy alone")
    ]
    for spec in found.values():
        assert [row["at"] for row in values(spec)] == pytest.approx([0.8808], abs=1e-4)
        assert [row["value"] for row in values(spec)] == [0.5]


def test_the_overview_has_accuracy_by_model_and_by_epoch(tmp_path: Path) -> None:
    texts = dialogues(4)
    scores = three(texts, [2.0, -2.0, -2.0, -2.0], [2.0, 2.0, -2.0, -2.0], [2.0, 2.0, 2.0, -2.0])
    write_estimates(tmp_path, "train", "pair_acc", [0.5, 0.75], 0.25)
    drawn = figures.overview(results_of(tmp_path, texts, scores))
    for share, name in zip((0.25, 0.5, 0.75), NAMES, strict=True):
        assert f'aria-label="{name}, {name}: {share:.3f} (95% interval ' in drawn
    assert 'aria-label="SFT + DPO, epoch 1: 0.750 (95% interval 0.500 to 1.000, 4 pairs)"' in drawn


def test_without_pairs_there_is_what_can_be_had_of_labels(tmp_path: Path) -> None:
    write_curve(tmp_path, "train", "steps", "loss", [0.5, 0.25])
    # As training writes what there is none of.
    for stage in ("sft", "train"):
        write_estimates(tmp_path, stage, "pair_acc", [math.nan, math.nan], math.nan)
    for side, curve in (("chosen", [0.0, -0.25]), ("rejected", [0.0, -0.5])):
        write_estimates(tmp_path, "train", f"{side}_log_ratio", curve, 0.25)
    texts = labelled(40)
    results = results_of(tmp_path, texts)
    assert list(figures.figures(results)) == ["training", "deviation"]
    found = shown(results, "deviation")
    assert list(found) == ["By epoch", "After training"]
    rows = [(row["series"], row["value"]) for row in values(found["By epoch"])]
    assert rows == [
        *(("desirable", value) for value in (0.0, -0.25)),
        *(("undesirable", value) for value in (0.0, -0.5)),
    ]
    scores = scores_of(texts)
    ratios = np.subtract(*(scores[name].of_responses(True) for name in (NAMES[2], NAMES[1])))
    # Every second response is desirable; what a point counts are pairs.
    desirable, undesirable = values(found["After training"])
    assert desirable["value"] == pytest.approx(np.mean(ratios[1::2]))
    assert undesirable["value"] == pytest.approx(np.mean(ratios[::2]))
    assert desirable["pairs"] is undesirable["pairs"] is None


def test_without_pairs_the_overview_has_the_auc_by_model(tmp_path: Path) -> None:
    results = results_of(tmp_path, labelled(42))
    drawn = figures.overview(results)
    for name, scores in results.scores.items():
        means = scores.of_responses(True)
        auc = np.mean(means[1::2, None] > means[::2])
        assert f'aria-label="{name}, {name}: {auc:.3f} (95% interval ' in drawn
    assert "pair" not in drawn


def test_of_one_label_the_charts_show_what_there_is(tmp_path: Path) -> None:
    texts = labelled(6)
    scores = scores_of(texts)
    for one in scores.values():
        one.index.labels[:] = 1
    results = results_of(tmp_path, texts, scores)
    assert "chance: 0.5000" in figures.overview(results)
    (spec,) = shown(results, "deviation").values()
    assert [row["series"] for row in values(spec)] == ["desirable"]
