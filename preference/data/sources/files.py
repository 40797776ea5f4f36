"""Preference data from files: which ones a source names, and what they hold."""

import glob
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from preference.core.errors import InputError, first_line
from preference.core.paths import leads_out, located, named
from preference.data.sources.arrow import Row
from preference.data.sources.readers import READERS
from preference.store.checksums import short

# The longest first: of two that fit, it is meant.
SUFFIXES = tuple(sorted(READERS, key=len, reverse=True))
# What `save_to_disk` of `datasets` writes: of a split its files, of several their names.
STATE = "state.json"
NOTES = (STATE, "dataset_dict.json")
SHOWN = 4  # names of files


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


def described(source: str | list[str], splits: Iterable[str]) -> str:
    """The names of the files of some splits, and the begin of a digest of them all.

    No path, which would tell of a machine.
    """
    paths = list(dict.fromkeys(path for split in splits for path in _of_split(source, split)))
    names = [path.name for path in paths]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} ({short(paths)})"


def _of_split(source: str | list[str], split: str) -> list[Path]:
    patterns = [source] if isinstance(source, str) else source
    # By the names that they have in the project: in a copy of it some lie elsewhere.
    found = {named(path): path for pattern in patterns for path in _matches(pattern)}
    files = [found[name] for name in sorted(found)]
    word = re.compile(rf"(?<![a-z]){re.escape(split.lower())}(?![a-z])")
    chosen = [path for path in files if _belongs(path, word, split)]
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
    if not set(chosen) <= {Path(pattern).expanduser() for pattern in patterns}:
        _require_one_split(chosen, split)
    return chosen


def _belongs(path: Path, word: re.Pattern[str], split: str) -> bool:
    if path.parent.name == split or word.search(path.name.lower()):
        return True
    # Not by the split that it notes: of a training split that was cut in two, that is both's.
    return (path.parent / STATE).exists() and bool(word.search(path.parent.name.lower()))


def _require_one_split(files: list[Path], split: str) -> None:
    """Refuse `train_sft` beside `train_prefs`, which the word `train` is in as well."""
    longer = re.compile(rf"(?<![a-z]){re.escape(split.lower())}(_[a-z]\w*?)?(?![a-z_])")
    found = {match[0] for path in files if (match := longer.search(path.name.lower()))}
    if len(found) > 1:
        raise InputError(
            f"params.yaml: data.source: {split} may be {', '.join(sorted(found))}; name the one "
            "meant in data.splits, or list the files in data.source, if all are"
        )


def _matches(pattern: str) -> list[Path]:
    path = located(pattern)
    if path.is_dir():
        found = list(_within(path))
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    if not found:
        raise InputError(
            f"params.yaml: data.source: {pattern!r} names no file; expected a directory with (or a "
            f"pattern for) train and test files ending in {', '.join(SUFFIXES)}"
        )
    return found


def _within(directory: Path) -> Iterator[Path]:
    """The data files of a directory: none that is hidden, as copies of notebooks and systems are.

    Of what `datasets` has saved, the files that it names.
    """
    for path in directory.rglob("*"):
        parts = path.relative_to(directory).parts
        beside = any(part.startswith((".", "~", "__")) or part.endswith("~") for part in parts)
        if beside or not path.is_file():
            continue
        if path.name == STATE:
            yield from _saved(path.parent)
        # Beside its files lie caches.
        elif path.name.endswith(SUFFIXES) and not any((path.parent / n).exists() for n in NOTES):
            yield path


def _saved(directory: Path) -> Iterator[Path]:
    """The files of what `Dataset.save_to_disk` wrote."""
    try:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{directory / STATE}: not as datasets saves it ({first_line(error)}); save the "
            "dataset again"
        ) from None
    for name in names:
        if leads_out(name) or not (directory / name).is_file():
            raise InputError(
                f"{directory / STATE}: names {name}, which is not there; save the dataset again"
            )
        yield directory / name
