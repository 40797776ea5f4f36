"""Where preference data comes from: the embedded demo, files, or the Hub."""

import glob
from collections.abc import Iterator
from typing import TypeGuard

import pyarrow as pa

from preference.core.params import Data
from preference.core.paths import located
from preference.core.pins import require_commit
from preference.data.sources import columns, demo, files

SPLITS = ("train", "test")


def batches(data: Data, split: str) -> Iterator[pa.RecordBatch]:
    """The rows of one split, `train` or `test`, as record batches of `tables.RAW`.

    Raises:
        InputError: the source does not exist, is not pinned, cannot be reached, or holds a row
            that is not two texts.
    """
    if data.source == "demo":
        return columns.batched(demo.rows(split, data.demo))
    if not _may_be_hub_id(data.source):
        return files.read(data.source, split)
    commit = require_commit(data.source, data.revision, "params.yaml: data.source", "data.revision")
    # Only this source needs the imports, which cost about a second.
    from preference.data.sources import datasets

    return datasets.read(data.source, commit, split)


def name(data: Data) -> str:
    """What metrics say of where the dialogues come from; no path, which would tell of a machine."""
    if data.source == "demo":
        return "demo"
    return f"{data.source}@{data.revision}" if _may_be_hub_id(data.source) else "files"


def _may_be_hub_id(source: str | list[str]) -> TypeGuard[str]:
    """Whether a source neither looks like a path or a pattern nor is there."""
    if isinstance(source, list) or source.startswith((".", "/", "~")):
        return False
    is_file = source.endswith(files.SUFFIXES) or glob.glob(str(located(source)))
    return not (is_file or glob.has_magic(source))
