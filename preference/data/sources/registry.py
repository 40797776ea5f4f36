"""Where preference data comes from: the embedded demo, files, or the Hub."""

import glob
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow as pa

from preference.core.errors import InputError
from preference.core.params import Data
from preference.core.pins import require_commit
from preference.data.formats.registry import Format, Reader
from preference.data.sources import demo, files
from preference.data.sources.arrow import Row

SPLITS = ("train", "test")
BATCH_ROWS = 10_000


def raw(data: Data, split: str) -> tuple[Format, Iterator[pa.RecordBatch]]:
    """The rows of one split, `train` or `test`: their format, and batches of its schema.

    Raises:
        InputError: the source does not exist, is not pinned, cannot be reached, has no rows, or
            holds one that its format does not allow.
    """
    rows = _rows(data, split)
    first = next(rows, None)
    if first is None:
        raise InputError(f"params.yaml: data.source: {data.source!r}: {split} has no rows")
    where, values = first
    reader = Reader(data.format, data.columns, values, where)
    found = (reader.read(values, where) for where, values in chain([first], rows))
    return reader.format, _batched(found, reader.format.schema)


def _batched(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(chunk, schema=schema)


def _rows(data: Data, split: str) -> Iterator[Row]:
    if data.source == "demo":
        rows = enumerate(demo.rows(split, data.demo))
        return ((f"demo, row {i}", {"chosen": a, "rejected": b}) for i, (a, b) in rows)
    word = getattr(data.splits, split)
    if not _may_be_hub_id(data.source):
        return files.read(data.source, word)
    commit = require_commit(data.source, data.revision, "params.yaml: data.source", "data.revision")
    # Only this source needs the imports, which cost about a second.
    from preference.data.sources import datasets

    return datasets.read(data.source, commit, data.name, word)


def name(data: Data) -> str:
    """What metrics say of where the dialogues come from; no path, which would tell of a machine."""
    if data.source == "demo":
        return "demo"
    return f"{data.source}@{data.revision}" if _may_be_hub_id(data.source) else "files"


def _may_be_hub_id(source: str | list[str]) -> TypeGuard[str]:
    """Whether a source neither looks like a path or a pattern nor is there."""
    if isinstance(source, list) or source.startswith((".", "/", "~")):
        return False
    is_file = source.endswith(files.SUFFIXES) or glob.glob(str(Path(source)))
    return not (is_file or glob.has_magic(source))
