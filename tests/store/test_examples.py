"""Prompts, responses and pairs: what an index tells, and its way through a table's columns."""

from dataclasses import replace

import naive
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from preference.store import tables
from preference.store.examples import Index, Ragged


def test_rows_of_different_lengths_lie_end_to_end() -> None:
    rows = Ragged.of(np.array([5, 6, 7]), np.array([2, 0, 1]))
    assert [rows[i].tolist() for i in range(len(rows))] == [[5, 6], [], [7]]
    assert rows.lengths.tolist() == [2, 0, 1]
    assert len(Ragged.of(np.array([]), np.array([], dtype=int))) == 0


def test_lengths_are_of_prompt_and_response_together() -> None:
    examples = naive.make_examples([([1, 2, 3], [[4], [5, 6]]), ([7], [[8, 9]])], 4, [(0, 1)])
    assert examples.lengths.tolist() == [4, 4, 3]
    assert (examples.longest, examples.largest_id) == (4, 9)
    assert naive.sequence(examples, 1) == ([2, 3], [5, 6])


def test_sides_of_pairs_come_before_labelled_single_responses() -> None:
    index = naive.make_index([2, 1, 3, 1, 1], [(1, 0), (4, 3), (5, 3)])
    index.labels[:] = [-1, -1, 1, 0, -1, -1, 0, -1]
    desirable, undesirable = index.by_label()
    # The labelled response that a pair has is a side of it.
    assert desirable.tolist() == [1, 4, 5, 2]
    assert undesirable.tolist() == [0, 3, 3, 6]
    assert index.pair_rows.tolist() == [0, 2, 2]
    assert index.counts.tolist() == [2, 1, 3, 1, 1]


def test_only_the_same_responses_are_the_same() -> None:
    index = naive.make_index([2, 3], [(0, 1), (2, 4)])
    assert index.same_as(naive.make_index([2, 3], [(0, 1), (2, 4)]))
    assert not index.same_as(naive.make_index([2, 3], [(0, 1), (4, 2)]))
    assert not index.same_as(naive.make_index([3, 2], [(0, 1), (2, 4)]))
    assert not index.same_as(naive.make_index([2, 3], [(0, 1)]))


@st.composite
def indices(draw: st.DrawFn) -> Index:
    counts = draw(st.lists(st.integers(1, 4), max_size=6))
    starts = np.cumsum([0, *counts])
    pairs = [
        (int(start) + draw(st.integers(0, n - 1)), int(start) + draw(st.integers(0, n - 1)))
        for start, n in zip(starts, counts, strict=False)
        for _ in range(draw(st.integers(0, 3)))
    ]
    index = naive.make_index(counts, pairs)
    index.labels[:] = [draw(st.sampled_from([-1, 0, 1])) for _ in index.labels]
    index.weights[:] = [draw(st.sampled_from([1.0, 0.5])) for _ in index.weights]
    return index


@given(indices(), st.sampled_from([None, 0.5, np.nan]), st.sampled_from([None, -2.5, np.nan]))
def test_columns_give_the_index_back(
    index: Index, weight: float | None, margin: float | None
) -> None:
    count = len(index.pairs)
    if weight is not None and count:
        # What is null counts as 1, or asks for 0.
        index = replace(index, pair_weights=np.full(count, np.nan_to_num(weight, nan=1), "f4"))
    if margin is not None and count:
        index = replace(index, margins=np.full(count, np.nan_to_num(margin), "f4"))
    schema = tables.extended(pa.schema(tables.INDEX), index.columns())
    table = pa.table(index.columns(), schema=schema)
    found = Index.of_columns(tables.flat(table, schema.names))
    assert found.same_as(index)
    assert found.pairs.shape == (len(index.pairs), 2)


def test_of_pairs_nulls_stand_for_what_says_nothing() -> None:
    schema = tables.extended(pa.schema(tables.INDEX), tables.OF_PAIRS)
    row = {"row": 0, "labels": [None] * 3, "weights": [None] * 3, "chosen": [0, 0, 1]}
    row |= {"rejected": [1, 2, 2], "pair_weights": [0.5, None, 0.0]}
    table = pa.Table.from_pylist([row | {"margins": [None, 2.0, -1.0]}], schema=schema)
    found = Index.of_columns(tables.flat(table, schema.names))
    assert found.pair_weights is not None
    assert found.margins is not None
    assert found.pair_weights.tolist() == [0.5, 1.0, 0.0]
    assert found.margins.tolist() == [0.0, 2.0, -1.0]
    table = pa.Table.from_pylist([row | {"margins": [None] * 3}], schema=schema)
    assert Index.of_columns(tables.flat(table, schema.names)).margins is None
