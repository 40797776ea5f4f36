"""Two models on the same pairs, by hand."""

import logging
import math
from dataclasses import replace

import naive
import numpy as np
import pytest

from preference.core.errors import InputError
from preference.evaluation.statistics import Difference
from preference.report import comparison
from preference.store.scores import Scores


def scores(chosen: list[float], rejected: list[float], tokens: list[int]) -> Scores:
    return naive.make_scores((chosen, tokens), (rejected, tokens))


def test_compare_pairs_the_two_models_pair_by_pair() -> None:
    before = scores([-4.0, -2.0, -6.0], [-2.0, -4.0, -2.0], tokens=[2, 2, 2])
    after = scores([-2.0, -2.0, -4.0], [-4.0, -6.0, -2.0], tokens=[2, 2, 2])
    # Mean margins -1, 1, -2 become 1, 2, -1: one pair gained, and margins up by 2, 1, 1.
    found = comparison.compare(before, after, normalize=True)
    assert list(found) == ["pair_acc", "margin"]
    assert found["pair_acc"].difference == pytest.approx(1 / 3)
    assert found["pair_acc"].p_value == 1
    assert found["margin"].difference == pytest.approx(4 / 3)
    # Mean 4/3, standard error 1/3, t quantile for 2 degrees of freedom 4.302653.
    assert found["margin"].low == pytest.approx((4 - 4.302652729911275) / 3)
    assert found["margin"].high == pytest.approx((4 + 4.302652729911275) / 3)
    # For 2 degrees of freedom: 1 - t / sqrt(t^2 + 2), t = 4.
    assert found["margin"].p_value == pytest.approx(1 - 4 / math.sqrt(18))


def test_compare_uses_means_or_sums() -> None:
    before = scores([-4.0, -4.0], [-4.0, -4.0], tokens=[2, 4])
    after = scores([-2.0, -2.0], [-4.0, -4.0], tokens=[2, 4])
    assert comparison.compare(before, after, normalize=True)["margin"].difference == 0.75
    assert comparison.compare(before, after, normalize=False)["margin"].difference == 2


def test_models_of_different_pairs_are_refused() -> None:
    one = scores([-2.0, -4.0], [-4.0, -4.0], tokens=[1, 1])
    moved = replace(one, index=replace(one.index, rows=one.index.rows + 1))
    with pytest.raises(InputError, match="scores of different pairs; run dvc repro"):
        comparison.compare(one, moved, normalize=True)
    # The same responses, in other pairs.
    swapped = replace(one, index=replace(one.index, pairs=one.index.pairs[:, ::-1]))
    with pytest.raises(InputError, match="scores of different pairs; run dvc repro"):
        comparison.compare(one, swapped, normalize=True)


def labelled(logps: list[float], labels: list[int]) -> Scores:
    """Scores of responses of two tokens, in no pair."""
    index = naive.make_index([1] * len(logps), [])
    index.labels[:] = labels
    return Scores(index, np.array(logps), np.full(len(logps), 2))


def test_without_pairs_labelled_responses_are_compared() -> None:
    labels = [1, 0, 1, 0]
    before = labelled([-4.0, -2.0, -6.0, -8.0], labels)
    after = labelled([-2.0, -4.0, -5.0, -8.0], labels)
    # Of four combinations two are right before, three after; means rise by 1 and 0.5, fall by 1.
    found = comparison.compare(before, after, normalize=True)
    assert list(found) == ["auc", "label_margin"]
    assert found["auc"].difference == pytest.approx(0.25)
    assert found["label_margin"].difference == pytest.approx(0.75 + 0.5)
    sums = comparison.compare(before, after, normalize=False)
    assert sums["label_margin"].difference == pytest.approx(1.5 + 1)
    assert list(comparison.flat({("sft", "final"): found}))[:4] == [
        f"final_vs_sft_auc_{field}" for field in ("difference", "low", "high", "p_value")
    ]


def test_of_one_label_every_difference_is_unknown() -> None:
    some = labelled([-4.0, -2.0], [1, 1])
    for found in comparison.compare(some, some, normalize=True).values():
        assert all(math.isnan(value) for value in vars(found).values())


def test_what_is_told_apart_are_pairs_where_there_are_any() -> None:
    index = naive.make_index([2, 1, 1], [(1, 0)])
    index.labels[2:] = [1, 0]
    both = {side: which.tolist() for side, which in comparison.sides(index).items()}
    assert both == {"chosen": [1], "rejected": [0]}
    assert comparison.tested(index) == "1 test pairs"
    index = replace(index, pairs=index.pairs[:0])
    labels = {side: which.tolist() for side, which in comparison.sides(index).items()}
    assert labels == {"desirable": [2], "undesirable": [3]}
    assert comparison.tested(index) == "1 desirable and 1 undesirable test responses"


def test_models_scored_with_other_precision_are_told_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = replace(scores([-2.0], [-4.0], [1]), context={"device": "cpu", "precision": "fp32"})
    comparison.warn_of_contexts({"baseline": one, "final": one})
    assert not caplog.records
    other = replace(one, context={"device": "cpu", "precision": "bf16"})
    comparison.warn_of_contexts({"baseline": one, "final": other})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'precision': 'bf16'" in record.getMessage()


def test_comparisons_are_written_flat() -> None:
    lost = Difference(-0.0012, -0.02, 0.0176, 0.001)
    assert comparison.flat({("sft", "final"): {"margin": lost}}) == {
        "final_vs_sft_margin_difference": -0.0012,
        "final_vs_sft_margin_low": -0.02,
        "final_vs_sft_margin_high": 0.0176,
        "final_vs_sft_margin_p_value": 0.001,
    }
