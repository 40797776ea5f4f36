"""Layouts: what stands where, and how micro-batches are cut."""

from typing import get_args

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preference.model import batches
from preference.model.batches import Layout
from preference.store.examples import Ragged

BOTH = np.array([0, 1])  # responses of the first pair


def test_shared_row_by_hand() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9])], 10)
    batch = batches.make(pairs, [BOTH], "shared")
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
    batch = batches.make(pairs, [BOTH], "plain")
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [5, 6, 9, 0]]
    assert batch.predicted_from.tolist() == [1, 2, 5]
    assert batch.response.tolist() == [0, 0, 1]
    assert set(batch.model_inputs()) == {"input_ids"}


def test_pair_with_different_kept_prompts_is_two_rows() -> None:
    pairs = naive.make_pairs([([1, 2, 3], [4, 5, 6], [7])], 5)
    batch = batches.make(pairs, [BOTH], "shared")
    assert batch.input_ids.tolist() == [[2, 3, 4, 5, 6], [1, 2, 3, 7, 0]]
    assert not batch.shared


def test_single_side_and_first_token_without_prompt() -> None:
    pairs = naive.make_pairs([([1, 2], [4, 5, 6], [7, 8])], 3)
    batch = batches.make(pairs, [BOTH[:1], BOTH[1:]], "shared")
    assert batch.input_ids.tolist() == [[4, 5, 6], [2, 7, 8]]
    assert batch.targets.tolist() == [5, 6, 7, 8]
    assert batch.predicted_from.tolist() == [0, 1, 3, 4]
    assert batch.counts.tolist() == [2, 2]


def test_packed_rows_by_hand() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9]), ([3], [4], [2, 1])], 10)
    batch = batches.make(pairs, [BOTH, np.array([3])], "packed")
    # All of them together are filled up to 16 positions.
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 3, 2, 1, *[0] * 8]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, *[0] * 8]]
    assert batch.segments.tolist() == [[0, 0, 1, 1, 2, 0, 1, 1, *[-1] * 8]]
    assert batch.predicted_from.tolist() == [1, 2, 1, 5, 6]
    assert batch.targets.tolist() == [7, 8, 9, 2, 1]
    assert batch.counts.tolist() == [2, 1, 2]
    assert batch.lengths == batch.model_inputs()["packing"].lengths == (5, 3, 8)


def test_large_packed_batches_are_filled_up_as_a_whole() -> None:
    pairs = naive.make_pairs([([5] * 100, [7] * 100, [9] * 37)], 300)
    for copies, filling in ((4, [12]), (5, [31]), (64, [])):
        items = [BOTH] * copies
        batch = batches.make(pairs, items, "packed")
        assert batch.lengths == (*[237] * copies, *filling)
        assert batch.input_ids.shape == (1, sum(batch.lengths))
        assert batch.segments[0, 237 * copies :].tolist() == [-1] * sum(filling)
    # Nothing that counts sees or predicts from it, and it sees something itself.
    batch = batches.make(pairs, [BOTH] * 5, "packed")
    assert int(batch.predicted_from.max()) < 237 * 5
    *_, last = batch.model_inputs()["packing"].spans
    assert last.tokens == 31
    assert all((row == 0).any() for row in last.bias)


def filled(positions: int, layout: Layout) -> int:
    return -(-positions // 16) * 16 if layout == "packed" else positions


LAYOUTS = st.sampled_from(get_args(Layout))


@given(st.integers(0, 10_000), st.integers(3, 30), LAYOUTS)
def test_shapes_tell_what_make_lays_out(seed: int, max_length: int, layout: Layout) -> None:
    pairs = naive.make_pairs(naive.random_texts(5, seed), max_length)
    choices = [[0, 1], [0], [1]]
    responses = [np.add(2 * pair, choices[(pair + seed) % 3]) for pair in range(5)]
    items = Ragged.of(np.concatenate(responses), np.array([len(item) for item in responses]))
    for item, (rows, width) in zip(responses, batches.shapes(pairs, items, layout), strict=True):
        batch = batches.make(pairs, [item], layout)
        assert tuple(batch.input_ids.shape) == (rows, filled(width, layout))


@given(
    st.lists(st.tuples(st.integers(1, 2), st.integers(1, 50)), min_size=1, max_size=40),
    st.integers(1, 200),
    LAYOUTS,
)
def test_micro_batches_hold_each_item_once_and_keep_the_budget(
    sizes: list[tuple[int, int]], budget: int, layout: Layout
) -> None:
    packed = layout == "packed"
    array = np.array([(1, width) if packed else (rows, width) for rows, width in sizes])
    groups = batches.micro_batches(array, budget, layout)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    for group in groups:
        rows, width = array[group, 0].sum(), array[group, 1].max()
        used = array[group, 1].sum() if packed else rows * width
        assert len(group) == 1 or used <= budget
        assert packed or array[group, 1].min() >= batches.SIMILAR * width


def test_padding_costs_nothing_where_there_are_few_positions() -> None:
    sizes = np.array([(1, tokens) for tokens in (100, 20, 50, 60)])
    for least, expected in (
        (0, [[0], [3, 2], [1]]),
        (200, [[0, 3], [2, 1]]),
        (10**6, [[0, 3, 2], [1]]),
    ):
        groups = batches.micro_batches(sizes, 300, "shared", least)
        assert [group.tolist() for group in groups] == expected
    assert [batches.least(torch.device(kind)) for kind in ("cpu", "cuda")] == [0, batches.LEAST]


def test_packed_groups_are_few_and_even() -> None:
    sizes = np.array([(1, tokens) for tokens in (50, 40, 30, 30, 20, 20, 10)])
    groups = batches.micro_batches(sizes, 110, "packed")
    assert [sizes[group, 1].sum() for group in groups] == [100, 100]


@pytest.mark.parametrize("layout", get_args(Layout))
def test_three_responses_share_a_row_where_they_keep_the_same_prompt(layout: Layout) -> None:
    texts = [([5, 6], [[7, 8], [9], [1, 2, 3]])]
    items = Ragged.of(np.arange(3), np.array([3]))
    for longest, one_row in ((10, layout != "plain"), (4, False)):
        examples = naive.make_examples(texts, longest, [(0, 1), (0, 2)])
        batch = batches.make(examples, [np.arange(3)], layout)
        assert batch.counts.tolist() == [2, 1, 3]
        assert batch.targets.tolist() == [7, 8, 9, 1, 2, 3]
        assert batch.shared == one_row
        ((rows, width),) = batches.shapes(examples, items, layout)
        assert tuple(batch.input_ids.shape) == (rows, filled(width, layout))
    shared = batches.make(naive.make_examples(texts, 10, []), [np.arange(3)], "shared")
    assert shared.position_ids.tolist() == [[0, 1, 2, 3, 2, 2, 3, 4]]
    seen = shared.model_inputs()["attention_mask"][0, 0].int().tolist()
    # The last response sees the prompt and itself.
    assert seen[5:] == [
        [1, 1, 0, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1, 1, 1],
    ]
