"""SFT: which responses, what they weigh, and their loss."""

import naive
import numpy as np
import torch
from objective_cases import COUNTS, LOGPS, PAIRS, labelled

from preference.objectives import sft


def test_it_is_the_negated_log_probability_of_chosen() -> None:
    task = sft.task(PAIRS)
    assert task.unit == "responses"
    assert [item.tolist() for item in task.items] == [[0], [2], [4], [6]]
    found = task.loss(LOGPS[:, 0], COUNTS[:, 0], np.arange(4), None)
    assert found.tolist() == [6.0, 2.0, 8.0, 3.0]


def test_weights_count_scored_tokens() -> None:
    texts = [
        ([1, 2], [5, 6, 0], [5, 0]),
        # The chosen response fills the length, so nothing stands before its first token.
        ([1], [5, 6, 7, 8, 0], [0]),
        ([1, 2, 3], [0], [5, 6, 0]),
    ]
    assert sft.task(naive.make_pairs(texts, 5)).weights.tolist() == [3, 4, 1]


def test_a_response_that_is_preferred_twice_is_visited_once() -> None:
    examples = naive.make_examples([([1], [[2], [3], [4]])], 8, [(0, 1), (0, 2), (1, 2)])
    assert [item.tolist() for item in sft.task(examples).items] == [[0], [1]]


def test_desirable_responses_count_by_their_weights() -> None:
    examples, _ = labelled([1, 0, 1], [1.0, 1.0, 0.5])
    task = sft.task(examples)
    assert [item.tolist() for item in task.items] == [[0], [2]]
    assert task.weights.tolist() == [2.0, 1.0]
    found = task.loss(torch.tensor([-4.0, -6.0]), torch.tensor([2, 2]), np.arange(2), None)
    assert found.tolist() == [4.0, 3.0]
