"""Rows of files of each kind: what is read, and what is refused by its place."""

import csv
import datetime
import gzip
import json
import random
from pathlib import Path
from typing import Any

import format_cases
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Rows, patient
from hypothesis import given
from hypothesis import strategies as st
from source_helpers import GOOD, ROWS, as_jsonl, read, refused, write_jsonl, write_parquet

from preference.data.sources import arrow, readers
from preference.data.sources.readers import READERS

RECORDS: list[dict[str, Any]] = [
    {"prompt": 'a "b",\n c 🙂', "label": True, "weight": 0.5, "n": 3, "list": ["x", "y"]},
    {"prompt": "true", "label": False, "weight": 1.0, "n": -1, "list": []},
]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """A file as its name says; an Arrow file as a stream."""
    table = pa.Table.from_pylist(records)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1))
    elif path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table, max_chunksize=1)
    else:
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, records[0])
            writer.writeheader()
            for record in records:
                found = [json.dumps(v) if isinstance(v, list) else v for v in record.values()]
                writer.writerow(dict(zip(record, found, strict=True)))
    return path


@pytest.mark.parametrize("suffix", READERS)
def test_each_kind_of_file_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"train{suffix}", RECORDS)
    found = [(where, dict(values)) for where, values in READERS[suffix](path)]
    expected = RECORDS
    if suffix == ".csv":
        # All of it is text there; the format knows what it is.
        with path.open(newline="") as lines:
            expected = list(csv.DictReader(lines))
    assert [values for _, values in found] == expected
    unit = "line" if suffix.startswith(".jsonl") or suffix == ".csv" else "row"
    assert all(where.startswith(f"{path}, {unit} ") for where, _ in found)


def test_an_arrow_file_may_have_an_index(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    with pa.ipc.new_file(tmp_path / "train.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=1)
    found = list(arrow.ipc(tmp_path / "train.arrow"))
    assert [values for _, values in found] == RECORDS
    assert [where for where, _ in found] == [f"{tmp_path}/train.arrow, row {i}" for i in (0, 1)]


def test_json_may_be_lines(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(GOOD * 2)
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


def test_lines_of_csv_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('\ufeffchosen,rejected\n"a\n1",b\n')
    assert [where for where, _ in readers.comma_separated(path)] == [f"{path}, line 3"]
    assert read(tmp_path) == [("a\n1", "b")]
    path.write_text("chosen,rejected\na,b\na,b,c\n")
    assert refused(tmp_path).startswith(f"{path}, line 3: has more or fewer values")
    path.write_text("chosen,rejected\na,b\na\n")
    assert refused(tmp_path).startswith(f"{path}, line 3: has more or fewer values")
    path.write_bytes(b"chosen,rejected\na,\xff\n")
    assert "not CSV in UTF-8" in refused(tmp_path)


@patient
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5), st.booleans())
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "train.jsonl"
    path.write_bytes(as_jsonl(rows, ascii_only))
    assert read(path) == rows


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\n" + GOOD + b"\n  \r\n" + GOOD + b"\n\n")
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD.replace(b"\n", b"\r\n") * 2)
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


def test_a_last_line_without_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD + GOOD.strip())
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_unicode_line_separators_end_no_row(tmp_path: Path, separator: str) -> None:
    rows = [(f"a{separator}b", f"{separator}c")]
    write_jsonl(tmp_path / "train", rows)
    assert read(tmp_path) == rows


BAD_LINES = {
    "cut short": (b'{"chosen": "a"', "not JSON"),
    "no JSON": (b"chosen: a", "not JSON"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "too long a number": (b'{"chosen": ' + b"1" * 5_000 + b', "rejected": "b"}', "not JSON"),
    "list": (b'["a", "b"]', "expected an object with a key for each column"),
    "text": (b'"a"', "expected an object with a key for each column"),
    "one column": (b'{"chosen": "a"}', "no column 'rejected' (it has chosen)"),
    "no column": (b"{}", "no columns 'chosen', 'rejected' (it has none)"),
    "null": (b'{"chosen": "a", "rejected": null}', "'rejected' must be text, but is null"),
    "number": (b'{"chosen": 7, "rejected": "b"}', "'chosen' must be text, but is 7"),
    "turns": (b'{"chosen": ["a"], "rejected": "b"}', "'chosen' must be text, but is ['a']"),
    "not UTF-8": (b'{"chosen": "a", "rejected": "\xff"}', "not UTF-8"),
}


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_a_bad_line_is_named(tmp_path: Path, name: str, bad: str) -> None:
    line, problem = BAD_LINES[bad]
    content = GOOD + b"\n" + line + b"\n" + GOOD
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, line 3: ")
    assert problem in message


@pytest.mark.parametrize("bad", ["cut short", "too long a number", "not UTF-8"])
def test_a_damaged_line_comes_with_what_to_do(tmp_path: Path, bad: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(BAD_LINES[bad][0])
    assert "mend or remove the line" in refused(tmp_path)


def test_a_long_value_is_not_printed_whole(tmp_path: Path) -> None:
    record = {"chosen": list(range(10_000)), "rejected": "b"}
    (tmp_path / "train.jsonl").write_text(json.dumps(record))
    assert len(refused(tmp_path)) < 500


@pytest.mark.parametrize("bad", ['"\\ud83d", "rejected": "b"', '"a", "rejected": "\\ude00"'])
def test_half_of_a_surrogate_pair_is_named_by_its_line(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD * 5 + f'{{"chosen": {bad}}}\n'.encode() + GOOD)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, line 6: ")
    assert "surrogate" in message
    assert "mend or remove the row" in message


def long_gzip() -> bytes:
    numbers = random.Random(0)
    return gzip.compress(as_jsonl([(str(numbers.random()), "b") for _ in range(2_000)]))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(long_gzip()[:-100])
    message = refused(tmp_path)
    assert message.startswith(f"{path}, after line ")
    assert "fetch the file again" in message


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    content = bytearray(long_gzip())
    content[300:340] = b"\xff" * 40
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, after line ")
    assert "fetch the file again" in message


def test_what_is_named_gzip_and_is_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(GOOD)
    message = refused(tmp_path)
    assert message.startswith(str(path))
    assert "Not a gzipped file" in message
    assert "fetch the file again" in message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet, but long enough to hold a footer"])
def test_broken_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: not readable as Parquet")
    assert "fetch the file again" in message


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train", ROWS * 100)
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(tmp_path).startswith(f"{path}: not readable as Parquet")


def test_other_columns_and_another_order_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": 1, "rejected": "b", "chosen": "a"}\n')
    table = pa.table({"id": [1], "rejected": ["b"], "chosen": ["a"]})
    pq.write_table(table, tmp_path / "test.parquet")
    assert read(tmp_path, "train") == read(tmp_path, "test") == [("a", "b")]


def test_columns_that_no_format_uses_may_hold_anything(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "chosen": ["a"],
            "rejected": ["b"],
            "bytes": pa.array([b"\xff"]).view(pa.string()),
            "nanoseconds": pa.array([1], pa.timestamp("ns")),
            "moment": pa.array([moment], pa.timestamp("us", "Mars/Olympus")),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    assert read(tmp_path) == [("a", "b")]


def test_parquet_with_large_strings_is_read(tmp_path: Path) -> None:
    column = pa.array(["a"], pa.large_string())
    pq.write_table(pa.table({"chosen": column, "rejected": column}), tmp_path / "train.parquet")
    assert read(tmp_path) == [("a", "a")]


def test_parquet_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "answer": ["b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, row 0: columns chosen, answer are those of no format")
    assert "known are chosen and rejected" in message
    message = refused(tmp_path, format="dialogues")
    assert message.startswith(f"{path}, row 0: no column 'rejected' (it has chosen, answer)")


def test_parquet_with_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "rejected": [1]}), path)
    assert refused(tmp_path).startswith(f"{path}, row 0: column 'rejected': expected text")
    message = refused(tmp_path, format="dialogues")
    assert message.startswith(f"{path}, row 0: column 'rejected' must be text, but is 1")


def test_parquet_with_null_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "BATCH_ROWS", 2)
    path = tmp_path / "train.parquet"
    table = pa.table({"chosen": list("abcde"), "rejected": ["a", "b", "c", None, "e"]})
    pq.write_table(table, path)
    expected = f"{path}, row 3: column 'rejected' must be text, but is null"
    assert refused(tmp_path).startswith(expected)


def test_parquet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    bad = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"chosen": bad, "rejected": ["a", "b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, row 1: column 'chosen'")
    assert "UTF-8" in message


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"no arrow, but long enough to hold a footer"])
def test_broken_arrow_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.arrow"
    path.write_bytes(content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: not readable as Arrow")
    assert "fetch the file again" in message


def test_rows_of_batches_are_numbered_to_the_end() -> None:
    batches = pa.table({"a": list(range(5))}).to_batches(max_chunksize=2)
    rows = arrow.rows(batches, "file")
    assert [next(rows) for _ in range(5)] == [(f"file, row {i}", {"a": i}) for i in range(5)]
    with pytest.raises(StopIteration) as caught:
        next(rows)
    assert caught.value.value == 5


@pytest.mark.parametrize("kind", ["jsonl", "a list"])
def test_a_key_that_stands_twice_is_refused(kind: str, tmp_path: Path) -> None:
    place = format_cases.write(tmp_path / "own", [format_cases.TEXTS], kind)
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"rejected"', b'"chosen"'))
    message = format_cases.refused(place)
    assert message.startswith(str(file))
    assert "the key 'chosen' stands twice in one object" in message


@pytest.mark.parametrize("kind", ["jsonl", "a list", "lines in .json", "csv"])
def test_a_byte_order_mark_and_windows_line_ends_are_read(kind: str, tmp_path: Path) -> None:
    place = format_cases.write(tmp_path / "own", [format_cases.TEXTS, format_cases.TEXTS], kind)
    (file,) = place.iterdir()
    ends = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + ends)
    assert (
        format_cases.read(place)
        == [format_cases.pair([format_cases.ASKED], "Here.", "No.", text="Where?")] * 2
    )


def test_json_may_have_its_columns_one_by_one(tmp_path: Path) -> None:
    expected = [format_cases.pair([format_cases.ASKED], "Here.", "No.", text="Where?")] * 2
    lists = {name: [text, text] for name, text in format_cases.TEXTS.items()}
    numbered = {name: {"0": text, "1": text} for name, text in format_cases.TEXTS.items()}
    for number, value in enumerate((lists, numbered)):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "train.json").write_text(json.dumps(value, indent=1))
        assert format_cases.read(place) == expected
    (place / "train.json").write_text(json.dumps(lists | {"chosen": ["a"]}))
    assert "other lengths (prompt: 2, chosen: 1, rejected: 2)" in format_cases.refused(place)
    # One row, whose messages are lists, too.
    (place / "train.json").write_text(json.dumps(format_cases.MESSAGES, indent=1))
    assert format_cases.read(place) == [format_cases.pair([format_cases.ASKED], "Here.", "No.")]
