"""Rows of files, one by one, each with where it stands: JSON, CSV, Parquet, Arrow."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preference.core.errors import InputError
from preference.store.tables import UNREADABLE, require_all

BATCH_ROWS = 1_000
Row = tuple[str, dict[str, Any]]  # where it stands, and its columns


class Unreadable:
    """In the place of a value that is damaged, or of a type that no format uses."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __repr__(self) -> str:
        return "not UTF-8" if isinstance(self._error, UnicodeDecodeError) else "not readable"


def jsonl(path: Path) -> Iterator[Row]:
    """A row a line."""
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _object(_parsed(line, where), where)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: cannot be read ({error}); fetch the file again"
        ) from None


def whole_json(path: Path) -> Iterator[Row]:
    """A list of rows; a file of one row a line is read as such."""
    content = path.read_bytes()
    if content.lstrip()[:1] != b"[":
        yield from jsonl(path)
        return
    for number, value in enumerate(_parsed(content, str(path))):
        where = f"{path}, row {number}"
        yield where, _object(value, where)


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 ({error})"
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is a ValueError that is no JSONDecodeError.
        problem = f"not JSON ({error})"
    raise InputError(f"{where}: {problem}; mend or remove the line")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object with a key for each column")
    return value


def comma_separated(path: Path) -> Iterator[Row]:
    """Rows below a line with the columns' names; every value is text, or a true or false."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(
                        f"{where}: has more or fewer values than the first line has names; mend or "
                        "remove the line"
                    )
                yield where, {name: _typed(name, value) for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, line {reader.line_num}: not CSV in UTF-8 ({error}); mend the file"
            ) from None


def _typed(name: str, value: str) -> object:
    """Labels, weights and lists have types that CSV lacks."""
    if name in ("prompt", "chosen", "rejected", "completion"):
        return value
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return value


def parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = yield from arrow(file.iter_batches(BATCH_ROWS), str(path))
            require_all(file.metadata, rows)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as Parquet ({error}); fetch the file again"
        ) from None


def ipc(path: Path) -> Iterator[Row]:
    """The rows of an Arrow file, as a stream or with an index."""
    try:
        with pa.memory_map(str(path)) as file:
            try:
                reader = pa.ipc.open_stream(file)
            except pa.ArrowInvalid:
                reader = [*_batches(pa.ipc.open_file(file))]
            yield from arrow(reader, str(path))
    except UNREADABLE as error:
        raise InputError(f"{path}: not readable as Arrow ({error}); fetch the file again") from None


def _batches(file: pa.RecordBatchFileReader) -> Iterator[pa.RecordBatch]:
    return (file.get_batch(number) for number in range(file.num_record_batches))


def arrow(batches: Iterable[pa.RecordBatch], where: str) -> Generator[Row, None, int]:
    """The rows of record batches, and at the end how many there were."""
    row = 0
    for batch in batches:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for place in range(batch.num_rows):
            values = {name: _value(column[place]) for name, column in columns.items()}
            yield f"{where}, row {row}", values
            row += 1
    return row


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError, pa.ArrowException) as error:
        return Unreadable(error)


# By the end of a file's name.
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": jsonl,
    ".jsonl.gz": jsonl,
    ".json": whole_json,
    ".parquet": parquet,
    ".csv": comma_separated,
    ".arrow": ipc,
}
