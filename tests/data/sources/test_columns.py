"""Two columns of texts, wherever they come from; all else is named by column and row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_helpers import read, refused

from preference.data.sources import columns


def test_other_columns_and_another_order_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": 1, "rejected": "b", "chosen": "a"}\n')
    table = pa.table({"id": [1], "rejected": ["b"], "chosen": ["a"]})
    pq.write_table(table, tmp_path / "test.parquet")
    assert read(tmp_path, "train") == read(tmp_path, "test") == [("a", "b")]


def test_parquet_with_large_strings_is_read(tmp_path: Path) -> None:
    column = pa.array(["a"], pa.large_string())
    pq.write_table(pa.table({"chosen": column, "rejected": column}), tmp_path / "train.parquet")
    assert read(tmp_path) == [("a", "a")]


def test_parquet_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "answer": ["b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: no column 'rejected' (it has chosen, answer)")
    assert "each row needs chosen and rejected" in message


def test_parquet_with_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "rejected": [1]}), path)
    assert refused(tmp_path).startswith(f"{path}: column 'rejected' must be text, but is int64")


def test_parquet_with_null_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BATCH_ROWS", 2)
    path = tmp_path / "train.parquet"
    table = pa.table({"chosen": list("abcde"), "rejected": ["a", "b", "c", None, "e"]})
    pq.write_table(table, path)
    assert refused(tmp_path) == f"{path}, row 3: column 'rejected' must be text, but is null"


def test_parquet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    bad = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"chosen": bad, "rejected": ["a", "b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, row 1: column 'chosen'")
    assert "UTF-8" in message
