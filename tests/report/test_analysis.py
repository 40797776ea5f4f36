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
from preference.evaluation.labelled import auc_interval
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


def test_calibration_by_hand() -> None:
    logits = np.array([0.1, -0.1, 2.0, 2.0])
    points, error = analysis.calibration(logits, groups=2, least=2)
    assert [p.at for p in points] == [pytest.approx(expit(0.1)), pytest.approx(expit(2.0))]
    assert [p.value for p in points] == [0.5, 1.0]
    expected = (2 * (expit(0.1) - 0.5) + 2 * (1 - expit(2.0))) / 4
    assert error.value == pytest.approx(expected)
    assert error.pairs == 4
    # Too few for two groups: all are in one.
    (point,), error = analysis.calibration(logits, groups=2, least=3)
    assert (point.value, point.pairs) == (0.75, 4)
    assert error.value == pytest.approx(abs(0.75 - (expit(0.1) + expit(2.0)) / 2))


def test_groups_of_calibration_have_20_pairs_or_more() -> None:
    logits = np.linspace(-3, 3, 99)
    points, _ = analysis.calibration(logits)
    assert [point.pairs for point in points] == [25, 25, 25, 24]
    assert [len(analysis.calibration(logits[:n])[0]) for n in (1, 19, 20, 40)] == [1, 1, 1, 2]


def test_one_pair_has_no_interval_of_calibration() -> None:
    _, error = analysis.calibration(np.array([1.0]))
    assert math.isnan(error.low)
    assert math.isnan(error.high)


@pytest.mark.parametrize("scale", [1.0, 1.5, 3.0])
def test_intervals_of_calibration_cover_the_true_error(scale: float) -> None:
    """Models that say so many times the log-odds that are true; the first is calibrated."""
    random = np.random.default_rng(1)

    def drawn(pairs: int) -> np.ndarray:
        logits = random.normal(0, 2, pairs)
        return scale * np.abs(logits) * np.where(random.random(pairs) < expit(abs(logits)), 1, -1)

    many = drawn(400_000)
    gaps = ((many > 0) - expit(np.abs(many)))[np.argsort(np.abs(many))]
    sums = gaps.reshape(10, -1).sum(axis=1)
    true = 0.0 if scale == 1 else float(np.abs(sums).sum() / len(many))
    covered = 0
    for _ in range(40):
        _, error = analysis.calibration(drawn(400))
        assert 0 <= error.low <= error.value <= error.high
        covered += error.low <= true <= error.high
    # Of 40, 95% are 38, with a standard deviation of 1.4.
    assert covered >= 34
    same = analysis.calibration(many[:400])
    assert analysis.calibration(many[:400]) == same


def test_a_model_that_is_calibrated_is_said_to_be_so() -> None:
    """Labels drawn with the probabilities that the model gives them."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 20_000)
    preferred = random.random(len(logits)) < expit(np.abs(logits))
    points, error = analysis.calibration(np.where(preferred, 1, -1) * np.abs(logits))
    assert error.value < 0.012
    assert error.low == 0
    assert all(p.low - 0.01 < float(p.at) < p.high + 0.01 for p in points)
    # One that says twice the log-odds is too sure.
    _, too_sure = analysis.calibration(2 * np.where(preferred, 1, -1) * np.abs(logits))
    assert 0.05 < too_sure.low < too_sure.value < too_sure.high < 0.2


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


def test_estimates_by_epoch_have_the_intervals_that_were_written(tmp_path: Path) -> None:
    place = tmp_path / "epochs" / "plots" / "metrics"
    place.mkdir(parents=True)
    for name, (first, second) in {
        "margin_sum": (1.0, 2.0),
        "margin_low_sum": (0.5, 1.5),
        "margin_high_sum": (1.5, 2.5),
        "pair_acc": (0.5, 0.75),
    }.items():
        (place / f"{name}.tsv").write_text(f"step\t{name}\n0\t{first}\n1\t{second}\n")
    assert analysis.read_estimates(tmp_path, "margin", "_sum", pairs=7) == [
        analysis.Point(0, 1.0, 0.5, 1.5, 7),
        analysis.Point(1, 2.0, 1.5, 2.5, 7),
    ]
    found = analysis.read_estimates(tmp_path, "pair_acc")
    assert [(p.at, p.value, p.pairs) for p in found] == [(0, 0.5, None), (1, 0.75, None)]
    assert all(math.isnan(end) for p in found for end in (p.low, p.high))
    assert analysis.read_estimates(tmp_path, "margin") == []


def test_epochs_without_a_value_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / "epochs" / "plots" / "metrics"
    place.mkdir(parents=True)
    (place / "pair_acc.tsv").write_text("step\tpair_acc\n0\tnan\n1\tnan\n")
    assert analysis.read_estimates(tmp_path, "pair_acc") == []


def test_an_auc_has_its_interval_and_counts_no_pairs() -> None:
    found = analysis.auc("a", (np.array([-1.0, -3.0]), np.array([-2.0, -4.0])))
    interval = auc_interval(0.75, 2, 2)
    assert found == analysis.Point("a", 0.75, interval.low, interval.high, None)


@given(st.integers(0, 1000))
def test_thinned_curves_keep_their_mean(length: int) -> None:
    curve = [(float(i), math.sin(i)) for i in range(length)]
    found = analysis.thinned(curve, most=50)
    assert len(found) == min(50, length)
    if length and length % 50 == 0:
        means = np.mean(found, axis=0), np.mean(curve, axis=0)
        np.testing.assert_allclose(*means)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
