"""Rows of files, one by one, each with where it stands: JSON, CSV, Parquet, Arrow."""

import csv
import gzip
import json
import sys
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preference.core.errors import InputError
from preference.data.sources import arrow
from preference.data.sources.arrow import Row

# Where a file is one object, its rows may stand under these.
ROWS = ("data", "rows")


def jsonl(path: Path) -> Iterator[Row]:
    """A row a line."""
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.removeprefix(BOM_UTF8) if number == 1 else line
                if text.strip():
                    where = f"{path}, line {number}"
                    yield where, _object(_parsed(text, where), where)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: cannot be read ({error}); fetch the file again"
        ) from None


def whole_json(path: Path) -> Iterator[Row]:
    """A list of rows, or an object that holds one, or a list for each column, or a row a line."""
    content = path.read_bytes().removeprefix(BOM_UTF8).strip()
    try:
        value = _parsed(content or b"[]", str(path))
    except InputError:
        if not content.startswith(b"{"):
            raise
        yield from jsonl(path)
        return
    for number, row in enumerate(_listed(value, str(path))):
        where = f"{path}, row {number}"
        yield where, _object(row, where)


def _listed(value: Any, where: str) -> list[Any]:
    """The rows that a file of one value holds."""
    if isinstance(value, list):
        return value
    held = [rows for rows in map(_object(value, where).get, ROWS) if isinstance(rows, list)]
    if held:
        return held[0]
    columns = [column for column in map(_column, value.values()) if column is not None]
    if not columns or len(columns) < len(value):
        return [value]
    if len(set(map(len, columns))) > 1:
        sizes = ", ".join(f"{n}: {len(c)}" for n, c in zip(value, columns, strict=True))
        raise InputError(f"{where}: its columns are of other lengths ({sizes}); mend the file")
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(value: Any) -> list[Any] | None:
    """A column's values, in a list or by row number; None for what is a value itself."""
    if isinstance(value, dict) and value and all(map(str.isdecimal, value)):
        return list(value.values())
    # A list of objects is a row's messages.
    if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
        return value
    return None


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 ({error})"
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is a ValueError that is no JSONDecodeError.
        problem = f"not JSON ({error})"
    raise InputError(f"{where}: {problem}; mend or remove the line")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object with a key for each column")
    return value


def comma_separated(path: Path) -> Iterator[Row]:
    """Rows below a line with the columns' names; every value is text."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            names = list(reader.fieldnames or ())
            for name in names:
                if names.count(name) > 1:
                    raise InputError(f"{path}, line 1: names the column {name!r} twice; rename one")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(
                        f"{where}: has more or fewer values than the first line has names; mend or "
                        "remove the line"
                    )
                yield where, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, line {reader.line_num}: not CSV in UTF-8 ({error}); mend the file"
            ) from None


# By the end of a file's name.
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": jsonl,
    ".jsonl.gz": jsonl,
    ".json": whole_json,
    ".parquet": arrow.parquet,
    ".csv": comma_separated,
    ".arrow": arrow.ipc,
}
