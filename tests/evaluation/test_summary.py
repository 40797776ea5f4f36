"""What metrics files say, of pairs and of labelled responses."""

import math
from dataclasses import replace

import naive
import numpy as np
import pytest

from preference.evaluation import labelled
from preference.evaluation.intervals import mean_interval, share_interval
from preference.evaluation.metrics import pair_metrics
from preference.evaluation.summary import headline, summary
from preference.store.scores import Scores

Z = 1.959963984540054  # the normal distribution's 97.5% quantile


def scores(chosen: list[float], rejected: list[float], tokens: int) -> Scores:
    counts = [tokens] * len(chosen)
    return naive.make_scores((chosen, counts), (rejected, counts))


@pytest.mark.parametrize("normalize", [True, False])
def test_summary_holds_pair_metrics_and_their_intervals(normalize: bool) -> None:
    some = scores([-2.0, -4.0, -6.0, -6.0], [-4.0, -6.0, -4.0, -6.0], tokens=2)
    found = summary(some, normalize)
    margins = np.array([2.0, 2.0, -2.0, 0.0]) / (2 if normalize else 1)
    accuracy, margin = share_interval(np.array([True, True, False, False])), mean_interval(margins)
    assert found == {
        "pairs": 4,
        "pair_acc": 0.5,
        "pair_acc_low": accuracy.low,
        "pair_acc_high": accuracy.high,
        "margin": pair_metrics(some, normalize)["margin"],
        "margin_low": margin.low,
        "margin_high": margin.high,
    }
    assert found["margin"] == (0.25 if normalize else 0.5)


def test_summary_of_one_pair_has_no_margin_interval() -> None:
    found = summary(scores([-1.0], [-2.0], tokens=1), normalize=True)
    assert (found["pairs"], found["pair_acc"], found["margin"]) == (1, 1.0, 1.0)
    assert found["pair_acc_low"] == pytest.approx(1 / (1 + Z**2))
    assert math.isnan(float(found["margin_low"]))
    assert math.isnan(float(found["margin_high"]))


def test_summary_of_no_pairs_has_no_numbers() -> None:
    found = summary(scores([], [], tokens=1), normalize=True)
    assert [found.pop(key) for key in ("pairs", "desirable", "undesirable")] == [0, 0, 0]
    assert all(math.isnan(float(value)) for value in found.values())
    assert len(found) == 12


def test_a_headline_has_what_all_models_have() -> None:
    found = {"pairs": 3, "pair_acc": 0.5, "pair_acc_low": 0.4, "margin": 0.25, "dpo_acc": 1.0}
    assert headline(found) == {"pair_acc": 0.5, "margin": 0.25}
    labels = {"pairs": 0, "pair_acc": math.nan, "auc": 0.75, "auc_low": 0.5, "label_margin": 1.5}
    assert headline(labels) == {"auc": 0.75, "label_margin": 1.5}


def single(logps: list[float], labels: list[int]) -> Scores:
    """Scores of responses of one token, each to a prompt of its own, in no pair."""
    index = naive.make_index([1] * len(logps), [])
    index.labels[:] = labels
    return Scores(index, np.array(logps), np.ones(len(logps), dtype=int), {"device": "cpu"})


def test_summary_of_labelled_responses_is_by_label() -> None:
    # Of the four combinations three are right.
    found = summary(single([-1.0, -3.0, -2.0, -4.0], [1, 1, 0, 0]), normalize=True)
    counts = [found[key] for key in ("pairs", "desirable", "undesirable", "auc", "label_margin")]
    assert counts == [0, 2, 2, 0.75, 1.0]
    assert math.isnan(float(found["pair_acc"]))
    assert list(found)[-7:] == [
        *(f"{metric}{end}" for metric in labelled.METRICS for end in ("", "_low", "_high")),
        "device",
    ]
    assert headline(found) == {"auc": 0.75, "label_margin": 1.0}


def test_labelled_responses_are_summed_up_by_source() -> None:
    some = single([-1.0, -3.0, -2.0, -4.0, -9.0], [1, 1, 0, 0, 1])
    sources = np.array(["a", "b", "a", "b", "c"])
    found = summary(replace(some, index=replace(some.index, sources=sources)), normalize=True)
    kinds = [(found[f"{source}: desirable"], found[f"{source}: undesirable"]) for source in "abc"]
    assert kinds == [(1, 1), (1, 1), (1, 0)]
    assert (found["a: auc"], found["b: auc"]) == (1.0, 1.0)
    assert math.isnan(float(found["c: auc"]))
    assert found["auc"] == 0.5


def test_where_there_are_pairs_labels_are_left_out() -> None:
    index = naive.make_index([2, 1, 1], [(0, 1)])
    index.labels[2:] = [1, 0]
    sources = np.array(["pairs", "labels", "labels"])
    index = replace(index, sources=sources)
    found = summary(Scores(index, np.array([-1.0, -2.0, -3.0, -4.0]), np.ones(4)), normalize=True)
    assert (found["pairs"], found["pair_acc"], found["labels: pairs"]) == (1, 1.0, 0)
    assert not any("auc" in key or "desirable" in key for key in found)
