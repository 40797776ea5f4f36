"""Prepared pairs are read as they were written, or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preference.core.errors import InputError
from preference.store import tables
from preference.store.tables import PREPARED

COLUMNS: dict[str, list[object]] = {
    "row": [0, 2, 3, 7],
    "prompt_ids": [[1, 2, 3], [], [4], [5, 6]],
    "chosen_ids": [[7, 0], [8, 0], [9, 0], [0]],
    "rejected_ids": [[0], [7, 8, 0], [9, 0], [1, 0]],
    "chosen_prompt_tokens": [3, 0, 1, 2],
    "rejected_prompt_tokens": [3, 0, 1, 1],
}
SOURCE = PREPARED.with_metadata({tables.SOURCE: "demo"})


def write(path: Path, table: pa.Table, rows: int = 10) -> Path:
    pq.write_table(table, path, row_group_size=rows, write_page_checksum=True)
    return path


def as_columns(pairs: tables.Pairs) -> dict[str, list[object]]:
    ragged = (pairs.prompt, pairs.chosen, pairs.rejected)
    lists = [[part[i].tolist() for i in range(len(part))] for part in ragged]
    kept = pairs.chosen_prompt_tokens.tolist(), pairs.rejected_prompt_tokens.tolist()
    return dict(zip(PREPARED.names, [pairs.rows.tolist(), *lists, *kept], strict=True))


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_pairs_are_the_columns_whatever_the_row_groups(rows: int, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table(COLUMNS, schema=SOURCE), rows)
    found = tables.read_pairs(path)
    assert as_columns(found) == COLUMNS
    assert found.source == "demo"
    assert found.prompt.values.dtype == found.chosen_prompt_tokens.dtype == np.int32


def test_a_table_without_rows_gives_no_pairs(tmp_path: Path) -> None:
    found = tables.read_pairs(write(tmp_path / "t.parquet", PREPARED.empty_table()))
    assert len(found) == len(found.prompt) == len(found.rejected) == 0
    assert found.source is None


def test_wider_types_give_the_same_pairs(tmp_path: Path) -> None:
    """As other tools write them."""
    table = pa.table(COLUMNS, schema=SOURCE)
    for at, name in enumerate(PREPARED.names):
        kind = pa.large_list(pa.int64()) if name.endswith("_ids") else pa.int64()
        table = table.set_column(at, name, table[name].cast(kind))
    assert as_columns(tables.read_pairs(write(tmp_path / "t.parquet", table))) == COLUMNS


def test_columns_of_another_table_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"row": [1]}))
    with pytest.raises(InputError, match=r"has columns \['row'\], expected \['row', 'prompt_ids'"):
        tables.read_pairs(path)


def test_damage_gives_the_same_pairs_or_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table(COLUMNS, schema=SOURCE), 2)
    whole, refused = path.read_bytes(), 0
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(2)]
        end = 4 + sum(g.column(i).total_compressed_size for g in groups for i in range(6))
    for at in range(4, end):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            assert as_columns(tables.read_pairs(path)) == COLUMNS, at
        except InputError:
            refused += 1
    assert refused > 100
