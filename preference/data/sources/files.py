"""Preference data from files: which ones a source names, and what they hold."""

import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preference.core.errors import InputError
from preference.core.paths import located, named
from preference.data.sources import columns
from preference.store.tables import RAW, UNREADABLE, require_all

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def read(source: str | list[str], split: str) -> Iterator[pa.RecordBatch]:
    """The rows of one split, from its files in sorted order, as batches of `tables.RAW`.

    Args:
        source: a path, a pattern or a list of them.

    Raises:
        InputError: there is no such file, it cannot be read, or holds a row that is not two texts.
    """
    for path in _of_split(source, split):
        if path.name.endswith(".parquet"):
            yield from _read_parquet(path)
        else:
            yield from columns.batched(_read_jsonl(path))


def _of_split(source: str | list[str], split: str) -> list[Path]:
    patterns = [source] if isinstance(source, str) else source
    # By the names that they have in the project: in a copy of it some lie elsewhere.
    found = {named(path): path for pattern in patterns for path in _matches(pattern)}
    files = [found[name] for name in sorted(found)]
    word = re.compile(rf"(?<![a-z]){split}(?![a-z])")
    chosen = [path for path in files if word.search(path.name.lower()) or path.parent.name == split]
    if not chosen:
        names = ", ".join(path.name for path in files[:5])
        raise InputError(
            f"params.yaml: data.source: {source!r} has no {split} file; a file belongs to the "
            f"split that its name holds as a word, or its directory is: {split}.jsonl.gz, "
            f"{split}/0.parquet (found: {names})"
        )
    kinds = {next((s for s in SUFFIXES if path.name.endswith(s)), path.suffix) for path in chosen}
    if not kinds <= set(SUFFIXES):
        raise InputError(f"{chosen[0]}: expected a file ending in {', '.join(SUFFIXES)}")
    if len(kinds) > 1:
        raise InputError(
            f"params.yaml: data.source: the {split} split comes as {' and as '.join(sorted(kinds))}"
            " at once, perhaps the same rows twice; name one kind with a pattern such as "
            "path/*.parquet"
        )
    return chosen


def _matches(pattern: str) -> list[Path]:
    path = located(pattern)
    if path.is_dir():
        inside = ((p, p.relative_to(path).parts) for p in path.rglob("*"))
        # What editors, notebooks and archives leave beside data is none, unless it is named.
        found = [
            p
            for p, parts in inside
            if not any(re.match(r"[.~]|.*~$|__MACOSX$", part) for part in parts)
            and p.name.endswith(SUFFIXES)
            and p.is_file()
        ]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    if not found:
        raise InputError(
            f"params.yaml: data.source: {pattern!r} names no file; expected a directory with (or a "
            f"pattern for) train and test files ending in {', '.join(SUFFIXES)}"
        )
    return found


def _read_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(line, f"{path}, line {number}")
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: cannot be read ({error}); fetch the file again"
        ) from None


def _parse(line: bytes, where: str) -> tuple[str, str]:
    try:
        record = json.loads(line.decode())
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected an object with the keys chosen and rejected")
        columns.require_texts(sorted(record), lambda name: _kind(record[name]), where)
        row = record["chosen"], record["rejected"]
        "".join(row).encode()
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 ({error})"
    except UnicodeEncodeError:
        problem = "holds half of a surrogate pair, which is no character"
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is a ValueError that is no JSONDecodeError.
        problem = f"not JSON ({error})"
    else:
        return row
    raise InputError(f"{where}: {problem}; mend or remove the line")


def _kind(value: object) -> str:
    return "string" if isinstance(value, str) else json.dumps(value)[:60]


def _read_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            batches = file.iter_batches(columns.BATCH_ROWS, columns=RAW.names)
            rows = yield from columns.checked(file.schema_arrow, batches, str(path))
            require_all(file.metadata, rows)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as Parquet ({error}); fetch the file again"
        ) from None
