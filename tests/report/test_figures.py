"""Which charts the report has, and that each shows the values that it is about."""

from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from report_cases import NAMES, dialogue, dialogues, results_of
from settings import params

from preference.report import charts, figures
from preference.store.scores import Scores
from preference.store.texts import Text


def write_curve(place: Path, stage: str, axis: str, metric: str, values: list[float]) -> None:
    directory = place / stage / axis / "plots" / "metrics"
    directory.mkdir(parents=True, exist_ok=True)
    first = 0 if axis == "epochs" else 1
    lines = [f"{step}\t{value}" for step, value in enumerate(values, first)]
    (directory / f"{metric}.tsv").write_text("\n".join([f"step\t{metric}", *lines]) + "\n")


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
    found = figures.figures(results_of(tmp_path, dialogues(30)))
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
    write_curve(tmp_path, "sft", "epochs", "pair_acc", [0.25, 0.5])
    write_curve(tmp_path, "sft", "epochs", "pair_acc_sum", [0.1, 0.2])
    write_curve(tmp_path, "train", "epochs", "pair_acc", [0.5, 0.75, 1.0])
    spec = shown(results, "progress")["Test pair_acc by epoch"]
    assert [(row["series"], row["x"], row["y"]) for row in values(spec)] == [
        ("SFT", 0, 0.25),
        ("SFT", 1, 0.5),
        ("SFT + DPO", 1, 0.5),
        ("SFT + DPO", 2, 0.75),
        ("SFT + DPO", 3, 1.0),
    ]
    assert "baseline: 0.2500" in charts.svg(spec)
    # SFT writes both ways of scoring; the report takes the one that counts.
    settings = params("fp32", "cpu")
    sums = settings.model_copy(
        update={"scoring": settings.scoring.model_copy(update={"length_normalize": False})}
    )
    found = shown(results_of(tmp_path, texts, scores, sums), "progress")
    by_epoch = values(found["Test pair_acc by epoch"])
    assert [row["y"] for row in by_epoch] == [0.1, 0.2, 0.5, 0.75, 1.0]
    assert "baseline: -1.0000" in charts.svg(found["Test margin by epoch"])


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
    """The two pairs of a ranking, then a dialogue of two turns."""
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    texts = [
        Text(0, "a", [("user", "a")], ["x", "y", "z"], [(0, 1), (0, 2)]),
        Text(1, "a b c", turns, ["x", "y"], [(1, 0)]),
    ]
    index = naive.make_index([3, 2], [(0, 1), (0, 2), (4, 3)])
    logps, tokens = np.array([-2.0, -1.0, -3.0, -1.0, -2.0]), np.array([1, 2, 1, 1, 4])
    # Means of the first -2, -0.5, -3, -1, -0.5: right in the second and in the third pair.
    some, none = Scores(index, logps, tokens), Scores(index, np.zeros(5), tokens)
    results = results_of(tmp_path, texts, dict(zip(NAMES, (some, none, none), strict=True)))
    found = shown(results, "bias")
    by_length = values(found["By how much longer the chosen response is"])
    assert [(r["at"], r["value"], r["pairs"]) for r in by_length if r["series"] == "baseline"] == [
        ("1 shorter", 0.0, 1),
        ("equal", 1.0, 1),
        ("2 to 3 longer", 1.0, 1),
    ]
    by_turns = values(found["By the human's turns"])
    assert [(r["at"], r["value"], r["pairs"]) for r in by_turns if r["series"] == "baseline"] == [
        ("1", 0.5, 2),
        ("2", 1.0, 1),
    ]
    assert {row["value"] for row in by_turns if row["series"] != "baseline"} == {0.0}


def test_deviation_is_the_mean_log_ratio_to_the_reference(tmp_path: Path) -> None:
    texts = [dialogue(row, "a", "b", "c") for row in range(2)]
    results = results_of(tmp_path, texts, three(texts, [9.0, 9.0], [-2.0, -4.0], [-4.0, -10.0]))
    found = shown(results, "deviation")
    assert list(found) == ["After training"]
    (chosen, rejected) = values(found["After training"])
    assert (chosen["series"], chosen["value"], chosen["pairs"]) == ("chosen", -2.0, 2)
    assert (rejected["series"], rejected["value"]) == ("rejected", 0.0)
    for side, curve in (("chosen", [0.0, -2.0]), ("rejected", [0.0, 0.5])):
        write_curve(tmp_path, "train", "epochs", f"{side}_log_ratio", curve)
    found = shown(results, "deviation")
    assert list(found) == ["By epoch", "After training"]
    assert [row["y"] for row in values(found["By epoch"])] == [0.0, -2.0, 0.0, 0.5]


def test_calibration_is_that_of_the_policy(tmp_path: Path) -> None:
    texts = [dialogue(row, "a", "b", "c") for row in range(2)]
    results = results_of(tmp_path, texts, three(texts, [9.0, 9.0], [0.0, 0.0], [40.0, -40.0]))
    found = shown(results, "calibration")
    # At beta 0.1 the log-odds are 2 and -2: sure of both to 0.8808, and right in one.
    for way in ("against the reference", "policy alone"):
        spec = found[f"sigmoid(beta x margin), {way}; calibration error 0.500"]
        assert [row["at"] for row in values(spec)] == pytest.approx([0.8808, 0.8808], abs=1e-4)
        assert [row["value"] for row in values(spec)] == [1.0, 0.0]


def test_the_overview_has_accuracy_by_model_and_by_epoch(tmp_path: Path) -> None:
    texts = dialogues(4)
    scores = three(texts, [2.0, -2.0, -2.0, -2.0], [2.0, 2.0, -2.0, -2.0], [2.0, 2.0, 2.0, -2.0])
    write_curve(tmp_path, "train", "epochs", "pair_acc", [0.5, 0.75])
    drawn = figures.overview(results_of(tmp_path, texts, scores))
    for share, name in zip((0.25, 0.5, 0.75), NAMES, strict=True):
        assert f'aria-label="{name}, {name}: {share:.3f} (95% interval ' in drawn
    assert 'aria-label="SFT + DPO, epoch 1: 0.7500"' in drawn
