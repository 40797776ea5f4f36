"""What the tests of several sources need: sources read as params name them, files written."""

import gzip
import json
from pathlib import Path

import data_helpers
import pytest
from data_helpers import Rows, write_raw

from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data.sources import registry
from preference.store.tables import RAW

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = [("Why? Yes.", "Why? No."), ("é \u2028 🙂", "tab\tand\r\nlines\u2029\x85"), ("", " ")]
GOOD = b'{"chosen": "a", "rejected": "b"}\n'


def data(source: Path | str | list[str], revision: str | None = None, **changes: object) -> Data:
    source = str(source) if isinstance(source, Path) else source
    return data_helpers.data(source=source, revision=revision, **changes)


def read(source: Path | str | list[str], part: str = "train", **changes: object) -> Rows:
    """The dialogues of a source, with some params of data set to other values."""
    found, reader = registry.raw(data(source, None, **changes), part)
    batches = list(reader)
    assert found.name == "dialogues"
    assert all(batch.schema == RAW for batch in batches)
    return [(row["chosen"], row["rejected"]) for batch in batches for row in batch.to_pylist()]


def refused(source: Path | str | list[str], part: str = "train", **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        read(source, part, **changes)
    return str(caught.value)


def as_jsonl(rows: Rows, ascii_only: bool = False) -> bytes:
    records = [dict(zip(RAW.names, row, strict=True)) for row in rows]
    lines = [json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records]
    return "".join(lines).encode()


def write_jsonl(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_bytes(as_jsonl(rows))
    return path


def write_gzip(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress(as_jsonl(rows)))
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    return write_raw(path.with_suffix(".parquet"), rows)
