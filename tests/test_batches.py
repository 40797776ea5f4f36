"""Layouts: what stands where, and how micro-batches are cut."""

import naive
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preference import batches
from preference.batches import BOTH, Item


def test_shared_row_by_hand() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9])], 10)
    batch = batches.make(pairs, [Item(0, BOTH)], share_prompts=True)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.segments.tolist() == [[0, 0, 1, 1, 2]]
    assert batch.predicted_from.tolist() == [1, 2, 1]
    assert batch.targets.tolist() == [7, 8, 9]
    assert batch.response.tolist() == [0, 0, 1]
    assert batch.counts.tolist() == [2, 1]
    assert batch.model_inputs()["attention_mask"].int().tolist() == [
        [
            [
                [1, 0, 0, 0, 0],
                [1, 1, 0, 0, 0],
                [1, 1, 1, 0, 0],
                [1, 1, 1, 1, 0],
                [1, 1, 0, 0, 1],
            ]
        ]
    ]


def test_plain_rows_by_hand() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9])], 10)
    batch = batches.make(pairs, [Item(0, BOTH)], share_prompts=False)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [5, 6, 9, 0]]
    assert batch.predicted_from.tolist() == [1, 2, 5]
    assert batch.response.tolist() == [0, 0, 1]
    assert set(batch.model_inputs()) == {"input_ids"}


def test_pair_with_different_kept_prompts_is_two_rows() -> None:
    pairs = naive.make_pairs([([1, 2, 3], [4, 5, 6], [7])], 5)
    batch = batches.make(pairs, [Item(0, BOTH)], share_prompts=True)
    assert batch.input_ids.tolist() == [[2, 3, 4, 5, 6], [1, 2, 3, 7, 0]]
    assert not batch.shared


def test_single_side_and_first_token_without_prompt() -> None:
    pairs = naive.make_pairs([([1, 2], [4, 5, 6], [7, 8])], 3)
    batch = batches.make(pairs, [Item(0, ("chosen",)), Item(0, ("rejected",))], share_prompts=True)
    assert batch.input_ids.tolist() == [[4, 5, 6], [2, 7, 8]]
    assert batch.targets.tolist() == [5, 6, 7, 8]
    assert batch.predicted_from.tolist() == [0, 1, 3, 4]
    assert batch.counts.tolist() == [2, 2]


@given(st.integers(0, 10_000), st.integers(3, 30), st.booleans())
def test_shapes_tell_what_make_lays_out(seed: int, max_length: int, share: bool) -> None:
    pairs = naive.make_pairs(naive.random_texts(5, seed), max_length)
    sides: list[tuple[batches.Side, ...]] = [BOTH, ("chosen",), ("rejected",)]
    items = [Item(pair, sides[(pair + seed) % 3]) for pair in range(5)]
    for item, (rows, width) in zip(items, batches.shapes(pairs, items, share), strict=True):
        assert tuple(batches.make(pairs, [item], share).input_ids.shape) == (rows, width)


@given(
    st.lists(st.tuples(st.integers(1, 2), st.integers(1, 50)), min_size=1, max_size=40),
    st.integers(1, 200),
)
def test_micro_batches_hold_each_item_once_and_keep_the_budget(
    sizes: list[tuple[int, int]], budget: int
) -> None:
    array = np.array(sizes)
    groups = batches.micro_batches(array, budget)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    for group in groups:
        rows, width = array[group, 0].sum(), array[group, 1].max()
        assert len(group) == 1 or rows * width <= budget
        assert array[group, 1].min() >= batches.SIMILAR * width
