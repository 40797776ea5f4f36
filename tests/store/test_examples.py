"""Prompts and responses: rows of ids, and their lengths."""

import naive
import numpy as np

from preference.store.examples import Ragged


def test_rows_of_different_lengths_lie_end_to_end() -> None:
    rows = Ragged.of(np.array([5, 6, 7]), np.array([2, 0, 1]))
    assert [rows[i].tolist() for i in range(len(rows))] == [[5, 6], [], [7]]
    assert rows.lengths.tolist() == [2, 0, 1]
    assert [row.tolist() for row in Ragged.even(np.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
    assert len(Ragged.of(np.array([]), np.array([], dtype=int))) == 0


def test_lengths_are_of_prompt_and_response_together() -> None:
    examples = naive.make_examples([([1, 2, 3], [[4], [5, 6]]), ([7], [[8, 9]])], 4, [(0, 1)])
    assert examples.lengths.tolist() == [4, 4, 3]
    assert (examples.longest, examples.largest_id) == (4, 9)
    assert naive.sequence(examples, 1) == ([2, 3], [5, 6])


def test_rows_may_be_parts_in_any_order() -> None:
    rows = Ragged(np.arange(6), np.array([4, 0, 1]), np.array([2, 0, 4]))
    assert [row.tolist() for row in rows] == [[4, 5], [], [1, 2, 3, 4]]
