"""What the report's charts show, by hand, by simulation and against peers."""

import math
from itertools import pairwise
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from settings import train
from statsmodels.stats.proportion import proportion_confint

from preference.core.errors import InputError
from preference.report import analysis
from preference.store.scores import Scores


def scores(chosen: list[float], rejected: list[float], tokens: int = 2) -> Scores:
    counts = [tokens] * len(chosen)
    return naive.make_scores((chosen, counts), (rejected, counts))


def test_shares_have_wilsons_interval() -> None:
    hits = np.arange(40) < 13
    found = analysis.share("a", hits)
    low, high = proportion_confint(13, 40, method="wilson")
    assert (found.at, found.pairs, found.value) == ("a", 40, 13 / 40)
    assert [found.low, found.high] == pytest.approx([low, high])


def test_means_have_students_interval() -> None:
    found = analysis.mean("a", np.array([1.0, 2.0, 3.0]))
    half = 4.302652729911275 / math.sqrt(3)
    assert (found.at, found.pairs, found.value) == ("a", 3, 2.0)
    assert [found.low, found.high] == pytest.approx([2 - half, 2 + half])


def test_length_groups_by_hand() -> None:
    # Sizes 1, 1, 2, 3, 9, 10: a third is up to 1, two thirds are up to 3.
    difference = np.array([1, -1, 2, -3, 9, -10, 0])
    found = [
        (label, inside.nonzero()[0].tolist())
        for label, inside in analysis.length_groups(difference)
    ]
    assert found == [
        ("4+ shorter", [5]),
        ("2 to 3 shorter", [3]),
        ("1 shorter", [1]),
        ("equal", [6]),
        ("1 longer", [0]),
        ("2 to 3 longer", [2]),
        ("4+ longer", [4]),
    ]


@given(st.lists(st.integers(-300, 300), max_size=60))
def test_every_pair_is_in_one_length_group(differences: list[int]) -> None:
    groups = analysis.length_groups(np.array(differences, dtype=int))
    together = sum((inside.astype(int) for _, inside in groups), np.zeros(len(differences), int))
    assert together.tolist() == [1] * len(differences)
    assert len({label for label, _ in groups}) == len(groups) <= 7


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_every_pair_is_in_one_turn_group(turns: list[int]) -> None:
    groups = analysis.turn_groups(np.array(turns))
    for label, inside in groups:
        for turn in np.array(turns)[inside]:
            assert turn >= 6 if label == "6+" else str(turn) == label
    assert sum(inside.sum() for _, inside in groups) == len(turns)


def test_groups_of_nothing() -> None:
    nothing = np.array([], dtype=int)
    assert analysis.length_groups(nothing) == analysis.turn_groups(nothing) == []


def test_turn_groups_by_hand() -> None:
    found = analysis.turn_groups(np.array([7, 1, 6, 3, 0, 1]))
    assert [(label, inside.nonzero()[0].tolist()) for label, inside in found] == [
        ("0", [4]),
        ("1", [1, 5]),
        ("3", [3]),
        ("6+", [0, 2]),
    ]


def test_calibration_by_hand() -> None:
    logits = np.array([0.1, -0.1, 2.0, 2.0])
    points, error = analysis.calibration(logits, groups=2)
    assert [p.at for p in points] == [pytest.approx(expit(0.1)), pytest.approx(expit(2.0))]
    assert [p.value for p in points] == [0.5, 1.0]
    expected = (2 * (expit(0.1) - 0.5) + 2 * (1 - expit(2.0))) / 4
    assert error == pytest.approx(expected)


def test_a_model_that_is_calibrated_is_said_to_be_so() -> None:
    """Labels drawn with the probabilities that the model gives them."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 100_000)
    preferred = random.random(len(logits)) < expit(np.abs(logits))
    points, error = analysis.calibration(np.where(preferred, 1, -1) * np.abs(logits))
    assert error < 0.006
    assert all(p.low - 0.005 < float(p.at) < p.high + 0.005 for p in points)
    # One that says twice the log-odds is too sure.
    _, too_sure = analysis.calibration(2 * np.where(preferred, 1, -1) * np.abs(logits))
    assert too_sure > 0.05


def test_preference_logits_are_those_of_dpo() -> None:
    policy, reference = scores([-2.0, -8.0], [-4.0, -2.0]), scores([-4.0, -4.0], [-4.0, -4.0])
    found = analysis.preference_logits(policy, reference, train(beta=0.5), normalize=True)
    # Means -1, -4 and -2, -1; the reference's are all -2.
    assert found["against the reference"].tolist() == [0.5 * ((-1 + 2) - 0), 0.5 * (-2 - 1)]
    assert found["policy alone"].tolist() == [0.5 * 1, 0.5 * -3]
    sums = analysis.preference_logits(policy, reference, train(beta=0.5), normalize=False)
    assert sums["against the reference"].tolist() == [1.0, -3.0]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50),
)
def test_histograms_hold_every_pair_once(one: list[float], other: list[float]) -> None:
    found = analysis.histograms({"a": np.array(one), "b": np.array(other)}, bins=7)
    assert list(found) == ["a", "b"]
    for rows in found.values():
        assert len(rows) == 7
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        assert all(a["to"] == b["from"] for a, b in pairwise(rows))


def test_histograms_by_hand() -> None:
    # Two models far apart: each lies in a bar of its own.
    values = np.linspace(0, 2, 201)
    found = analysis.histograms({"a": values, "b": np.full(5, 100.0)}, bins=2)
    low, high = np.quantile([*values, *[100.0] * 5], [0.005, 0.995])
    middle = (low + high) / 2
    edges = [[low, middle], [middle, high]]
    for model, shares in (("a", [1.0, 0.0]), ("b", [0.0, 1.0])):
        assert [[row["from"], row["to"]] for row in found[model]] == pytest.approx(np.array(edges))
        assert [row["share"] for row in found[model]] == shares
    # One value has a bar around it.
    (row,) = analysis.histograms({"a": np.array([3.0, 3.0])}, bins=1)["a"]
    assert row == {"from": 2.5, "to": 3.5, "share": 1.0}


def test_curves_are_read_as_training_writes_them(tmp_path: Path) -> None:
    place = tmp_path / "steps" / "plots" / "metrics"
    place.mkdir(parents=True)
    (place / "loss.tsv").write_text("step\tloss\n1\t0.5\n2\t0.25\n")
    assert analysis.read_curve(tmp_path, "steps", "loss") == [(1, 0.5), (2, 0.25)]
    assert analysis.read_curve(tmp_path, "epochs", "loss") == []
    (place / "loss.tsv").write_text("step\tloss\n1\tx\n")
    with pytest.raises(InputError, match=r"loss\.tsv: not a curve"):
        analysis.read_curve(tmp_path, "steps", "loss")


@given(st.integers(0, 1000))
def test_thinned_curves_keep_their_mean(length: int) -> None:
    curve = [(float(i), math.sin(i)) for i in range(length)]
    found = analysis.thinned(curve, most=50)
    assert len(found) == min(50, length)
    if length and length % 50 == 0:
        means = np.mean(found, axis=0), np.mean(curve, axis=0)
        np.testing.assert_allclose(*means)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
