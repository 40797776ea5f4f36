"""What a loss is given, and what losses have in common."""

import math

import naive
import numpy as np
import pytest
import torch

from preference.objectives.batch import Batch, cross_entropy

PAIRS = naive.make_scores(([-6.0, -2.0], [3, 2]), ([-9.0, -1.0], [3, 1]))
REFERENCE = np.array([-3.0, -2.0, -1.5, -1.0])


def of_pairs() -> Batch:
    labels = np.array([[True, False]] * 2)
    return Batch.of_scores(PAIRS, REFERENCE, True, PAIRS.index.pairs, labels)


def test_scores_are_means_and_log_probabilities_are_sums() -> None:
    batch = of_pairs()
    assert batch.policy.tolist() == [[-2, -3], [-1, -1]]
    assert batch.reference.tolist() == [[-3, -2], [-1.5, -1]]
    assert batch.logps.tolist() == [[-6, -9], [-2, -1]]
    assert batch.tokens.tolist() == [[3, 3], [2, 1]]
    assert batch.desirable.tolist() == [[True, False]] * 2
    assert batch.policy.dtype == torch.float64
    assert batch.statistic is None


def test_log_ratios_margins_and_cross_entropy_are_the_pairs() -> None:
    batch = of_pairs()
    assert [ratios.tolist() for ratios in batch.log_ratios] == [[1, 0.5], [-1, 0]]
    assert batch.margin.tolist() == [2, 0.5]
    assert batch.nll.tolist() == [2, 1]


def test_what_was_found_of_a_step_is_all_that_changes() -> None:
    batch, found = of_pairs(), torch.tensor(2.0)
    given = batch.given(found)
    assert given.statistic is found
    assert given.policy is batch.policy
    asking = batch.asking(np.array([0.5, 2], "f4"))
    assert isinstance(asking.ahead, torch.Tensor)
    assert (asking.ahead.dtype, asking.ahead.tolist()) == (torch.float64, [0.5, 2.0])
    assert batch.ahead == 0.0


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_cross_entropy_of_labels_that_may_be_wrong(wrong: float) -> None:
    found = cross_entropy(torch.tensor([0.5, -2.0], dtype=torch.float64), wrong)
    expected = [
        (1 - wrong) * math.log(1 + math.exp(-x)) + wrong * math.log(1 + math.exp(x))
        for x in (0.5, -2.0)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_a_margin_is_asked_of_a_swapped_pair_as_well() -> None:
    found = cross_entropy(torch.tensor([0.5, -2.0]).double(), 0.3, torch.tensor([1.0, -0.5]))
    expected = [
        0.7 * math.log(1 + math.exp(m - x)) + 0.3 * math.log(1 + math.exp(m + x))
        for x, m in ((0.5, 1.0), (-2.0, -0.5))
    ]
    assert found.tolist() == pytest.approx(expected)
