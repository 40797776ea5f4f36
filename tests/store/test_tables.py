"""Tables are read as they were written, or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preference.core.errors import InputError
from preference.store import examples, tables, texts
from preference.store.tables import PREPARED

COLUMNS: dict[str, list[Any]] = {
    "row": [0, 2, 3, 7],
    "source": ["one", None, "two", None],
    "labels": [[None, None], [True], [None, None, None], [False]],
    "weights": [[None, None], [0.5], [1.0, None, 2.0], [None]],
    "chosen": [[0], [], [2, 2], []],
    "rejected": [[1], [], [0, 1], []],
    "prompt_ids": [[1, 2, 3], [], [4], [5, 6]],
    "response_ids": [[[7, 0], [0]], [[8, 0]], [[9, 0], [9, 1, 0], [0]], [[1, 0]]],
    "prompt_tokens": [[3, 2], [0], [1, 1, 0], [2]],
    "answers": [[2, 1], [], [], []],
    "prompt": ["ask", "", "\n🙂", "so"],
    "turns": [[{"role": "user", "content": "ask"}], [], [], []],
    "responses": [["yes", "no"], ["a"], ["b", "bb", ""], ["c"]],
}
SOURCE = PREPARED.with_metadata({tables.SOURCE: "demo"})


def write(path: Path, table: pa.Table, rows: int = 10) -> Path:
    pq.write_table(table, path, row_group_size=rows, write_page_checksum=True)
    return path


def as_columns(path: Path) -> dict[str, list[Any]]:
    """What is read, in the table's own form."""
    found = examples.read(path)
    counts = found.index.counts
    responses = [found.responses[i].tolist() for i in range(len(found.responses))]
    index = {name: column.to_pylist() for name, column in found.index.columns().items()}
    told = texts.read(path)
    return {
        **index,
        "prompt_ids": [found.prompts[i].tolist() for i in range(len(found.prompts))],
        "response_ids": [list(part) for part in split(responses, counts)],
        "prompt_tokens": [list(part) for part in split(found.prompt_tokens.tolist(), counts)],
        "answers": [part.tolist() for part in found.answers],
        "prompt": [text.prompt for text in told],
        "turns": [text.turns for text in told],
        "responses": [text.responses for text in told],
    }


def split(values: list[Any], counts: np.ndarray) -> list[list[Any]]:
    ends = np.cumsum(counts).tolist()
    return [values[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]


# A weight that is not said is 1, and turns are read as texts.
EXPECTED = COLUMNS | {
    "weights": [[1.0 if w is None else w for w in of_row] for of_row in COLUMNS["weights"]],
    "turns": [[("user", "ask")], [], [], []],
}


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_what_is_read_is_what_was_written_whatever_the_row_groups(
    rows: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.parquet", pa.table(COLUMNS, schema=SOURCE), rows)
    assert as_columns(path) == EXPECTED
    found = examples.read(path)
    assert found.source == "demo"
    assert found.prompts.values.dtype == found.prompt_tokens.dtype == np.int32


def test_a_table_without_rows_gives_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", PREPARED.empty_table())
    found = examples.read(path)
    assert len(found.prompts) == len(found.responses) == len(found.index.pairs) == 0
    assert found.index.pairs.shape == (0, 2)
    assert found.source is None
    assert found.longest == found.largest_id == 0
    assert texts.read(path) == []


def test_wider_types_give_the_same(tmp_path: Path) -> None:
    """As other tools write them."""
    table = pa.table(COLUMNS, schema=SOURCE)
    wide = {
        "row": pa.int64(),
        "chosen": pa.large_list(pa.int64()),
        "rejected": pa.large_list(pa.int64()),
        "prompt_ids": pa.large_list(pa.int64()),
        "response_ids": pa.large_list(pa.large_list(pa.int64())),
        "prompt_tokens": pa.large_list(pa.int64()),
        "prompt": pa.large_string(),
    }
    for name, kind in wide.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    assert as_columns(write(tmp_path / "t.parquet", table)) == EXPECTED


def test_columns_of_another_table_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"row": [1]}))
    with pytest.raises(InputError, match=r"has columns \['row'\], expected \['row', 'source'"):
        examples.read(path)


# Every ninth byte, and the others where there is time.
STARTS = [4, *(pytest.param(start, marks=pytest.mark.long) for start in range(5, 13))]


@pytest.mark.parametrize("start", STARTS)
def test_damage_gives_the_same_or_an_error(start: int, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table(COLUMNS, schema=SOURCE), 2)
    whole, refused = path.read_bytes(), 0
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(2)]
        columns = file.metadata.num_columns
        end = 4 + sum(g.column(i).total_compressed_size for g in groups for i in range(columns))
    for at in range(start, end, 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            assert as_columns(path) == EXPECTED, at
        except InputError:
            refused += 1
    assert refused > 10
