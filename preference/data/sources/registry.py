"""Where preference data comes from: the embedded demo, files, or the Hub."""

import glob
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, TypeGuard

import pyarrow as pa

from preference.core.data_params import Data, Demo, Source
from preference.core.errors import InputError
from preference.core.paths import located
from preference.core.pins import require_commit
from preference.data.formats import conversations, hh
from preference.data.formats.example import Unusable
from preference.data.formats.registry import Format, Reader
from preference.data.sources import demo, files
from preference.data.sources.arrow import Row
from preference.data.sources.mixture import mixed
from preference.store.tables import RAW_OF_PAIRS, extended, plain

SPLITS = ("train", "test")
BATCH_ROWS = 10_000


def raw(data: Data, split: str) -> tuple[Format, Iterator[pa.RecordBatch]]:
    """The rows of one split, `train` or `test`: their format, and batches of its schema.

    Raises:
        InputError: a source does not exist, is not pinned, cannot be reached, has no rows, or
            holds one that its format does not allow.
    """
    sources = data.sources
    if len(sources) == 1:
        found, rows = _read(sources[0], data.demo, split)
        return found, _batched(rows, found.schema)
    formats = [_read(source, data.demo, split)[0] for source in sources]
    names = " + ".join(dict.fromkeys(one.name for one in formats))
    kinds = [plain(one.schema) for one in formats]
    alike = all(kind.equals(kinds[0]) for kind in kinds)
    kind = kinds[0] if alike else conversations.SCHEMA
    schema = extended(kind, {name for one in formats for name in one.schema.names})

    def read(source: Source) -> Iterator[dict[str, Any]]:
        found, rows = _read(source, data.demo, split)
        return rows if plain(found.schema).equals(kind) else map(_as_turns, rows)

    titled = schema.append(pa.field("source", pa.string()))
    mixture = formats[0]._replace(name=names, schema=titled)
    return mixture, _batched(mixed(sources, split, read), titled)


def _as_turns(dialogues: dict[str, Any]) -> dict[str, Any]:
    """A row of two whole dialogues, turn by turn, to be mixed with messages."""
    found = hh.read(dialogues)
    if isinstance(found, Unusable):
        return conversations.unusable(found)
    of_pair = {name: dialogues[name] for name in RAW_OF_PAIRS if name in dialogues}
    return conversations.row(found.turns, found.responses) | of_pair


def _read(source: Source, settings: Demo, split: str) -> tuple[Format, Iterator[dict[str, Any]]]:
    """The format of a source, and its rows in it."""
    rows = _rows(source, settings, split)
    first = next(rows, None)
    if first is None:
        raise InputError(f"params.yaml: data.source: {source.source!r}: {split} has no rows")
    reader = Reader(source.format, source.columns, first[1], first[0])
    return reader.format, (reader.read(row, where) for where, row in chain([first], rows))


def _batched(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(chunk, schema=schema)


def _rows(source: Source, settings: Demo, split: str) -> Iterator[Row]:
    if source.source == "demo":
        rows = enumerate(demo.rows(split, settings))
        return ((f"demo, row {i}", {"chosen": a, "rejected": b}) for i, (a, b) in rows)
    word = getattr(source.splits, split)
    if not _may_be_hub_id(source.source):
        return files.read(source.source, word)
    commit = require_commit(
        source.source, source.revision, "params.yaml: data.source", "data.revision"
    )
    # Only this source needs the imports, which cost about a second.
    from preference.data.sources import datasets

    return datasets.read(source.source, commit, source.name, word)


def name(data: Data) -> str:
    """What metrics say of where the dialogues come from."""
    return " + ".join(map(_name, data.sources))


def _name(source: Source) -> str:
    if source.source == "demo":
        return "demo"
    if _may_be_hub_id(source.source):
        return f"{source.source}@{source.revision}"
    return files.described(source.source, (source.splits.train, source.splits.test))


def _may_be_hub_id(source: str | list[str]) -> TypeGuard[str]:
    """Whether a source neither looks like a path or a pattern nor is there."""
    if isinstance(source, list) or source.startswith((".", "/", "~")):
        return False
    is_file = source.endswith(files.SUFFIXES) or glob.glob(str(located(source)))
    return not (is_file or glob.has_magic(source))
