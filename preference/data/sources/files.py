"""Preference data from files: which ones a source names, and what they hold."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from preference.core.errors import InputError
from preference.data.sources.readers import READERS, Row

# The longest first: of two that fit, it is meant.
SUFFIXES = tuple(sorted(READERS, key=len, reverse=True))


def read(source: str | list[str], split: str) -> Iterator[Row]:
    """The rows of one split, from its files in sorted order.

    Args:
        source: a path, a pattern or a list of them.
        split: the word that the names of its files hold.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    for path in _of_split(source, split):
        suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
        yield from READERS[suffix](path)


def _of_split(source: str | list[str], split: str) -> list[Path]:
    patterns = [source] if isinstance(source, str) else source
    files = sorted({path for pattern in patterns for path in _matches(pattern)})
    word = re.compile(rf"(?<![a-z]){re.escape(split.lower())}(?![a-z])")
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
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file()]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    if not found:
        raise InputError(
            f"params.yaml: data.source: {pattern!r} names no file; expected a directory with (or a "
            f"pattern for) train and test files ending in {', '.join(SUFFIXES)}"
        )
    return found
