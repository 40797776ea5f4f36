"""The index: what it tells, its parts, its way through a table's columns; orders and blocks."""

from dataclasses import replace

import naive
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.store import tables
from preference.store.index import Index, blocks, numbers, shuffled


def test_blocks_cover_all_rows_once() -> None:
    assert list(blocks(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(blocks(4, 2)) == [slice(0, 2), slice(2, 4)]
    # So that a table without rows is written, too.
    assert list(blocks(0, 2)) == [slice(0, 0)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 65_536, 65_537, 300_001])
def test_an_order_is_numpys_permutation_in_half_the_memory(count: int) -> None:
    expected = np.random.default_rng([7, *b"order", 3]).permutation(count)
    found = shuffled(count, 7, *b"order", 3)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_numbers_are_as_wide_as_they_have_to_be() -> None:
    assert [numbers(n) for n in (0, 2**31 - 1, 2**31)] == [np.int32, np.int32, np.int64]


def test_sides_of_pairs_come_before_labelled_single_responses() -> None:
    index = naive.make_index([2, 1, 3, 1, 1], [(1, 0), (4, 3), (5, 3)])
    index.labels[:] = [-1, -1, 1, 0, -1, -1, 0, -1]
    desirable, undesirable = index.by_label()
    # The labelled response that a pair has is a side of it.
    assert desirable.tolist() == [1, 4, 5, 2]
    assert undesirable.tolist() == [0, 3, 3, 6]
    assert index.single.tolist() == [2, 6]
    assert index.desirable.tolist() == [1, 2, 4, 5]
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


@given(indices())
def test_desirable_ones_are_those_of_either_kind_each_once(index: Index) -> None:
    expected = np.unique(index.by_label()[0])
    np.testing.assert_array_equal(index.desirable, expected)


@given(indices(), st.integers(1, 4), st.booleans(), st.booleans())
def test_parts_of_an_index_have_its_columns(
    index: Index, size: int, sources: bool, of_pairs: bool
) -> None:
    numbers_of_pairs = np.arange(len(index.pairs), dtype="f4")
    if of_pairs:
        index = replace(index, pair_weights=numbers_of_pairs, margins=-numbers_of_pairs)
    if sources:
        index = replace(index, sources=np.array([f"{r % 2}" for r in index.rows], object))
    index = replace(index, rows=index.rows + 5)
    parts = [index.part(part) for part in blocks(len(index.rows), size)]
    schema = tables.extended(pa.schema(tables.INDEX), index.columns())
    whole = pa.table(index.columns(), schema=schema)
    apart = pa.concat_tables(pa.table(part.columns(), schema=schema) for part, _ in parts)
    assert apart.to_pylist() == whole.to_pylist()
    responses = [np.arange(len(index.labels))[which] for _, which in parts]
    assert np.concatenate(responses).tolist() == list(range(len(index.labels)))


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
