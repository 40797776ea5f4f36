"""Digests of a directory's files, kept in it, so that what storage has damaged is noticed.

DVC takes a read-only file of its cache to be what its name says, and hands it back unread.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from preference.core.errors import InputError
from preference.store.text import write_json

NAME = "checksums.json"


def of_file(file: Path) -> str:
    """SHA-256, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def short(files: Sequence[Path]) -> str:
    """What people are shown: the begin of a file's SHA-256, of several that of their digests'."""
    digests = [of_file(file) for file in files]
    together = hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"sha256 {(together if len(digests) > 1 else digests[0])[:12]}"


def of_directory(directory: Path) -> dict[str, str]:
    """Of all files under it, by relative path; of its own record not."""
    files = [f for f in sorted(directory.rglob("*")) if f.is_file() and f.name != NAME]
    # Large models are many files, and digests leave Python's lock.
    with ThreadPoolExecutor() as pool:
        digests = pool.map(of_file, files)
        return {str(f.relative_to(directory)): d for f, d in zip(files, digests, strict=True)}


def seal(directory: Path) -> None:
    """Write the record of what a directory holds into it."""
    write_json(directory / NAME, of_directory(directory))


def differing(directory: Path, files: Collection[str] | None = None) -> list[str]:
    """Files of a sealed directory that are not what its record says, missing ones too.

    Files that came later are in no record and differ as well. An unreadable record is itself
    what differs.

    Args:
        files: the only ones to look at, by name; None stands for all.
    """
    try:
        recorded = dict(json.loads((directory / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return [NAME]
    if files is None:
        found = of_directory(directory)
    else:
        recorded = {name: recorded.get(name) for name in files}
        found = {n: of_file(directory / n) for n in files if (directory / n).is_file()}
    return sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))


def require_undamaged(directory: Path, files: Collection[str] | None = None) -> None:
    """Refuse what storage has changed since this project wrote it.

    Args:
        files: the ones that matter, by name; None stands for all.
    """
    changed = differing(directory, files) if (directory / NAME).exists() else []
    if changed:
        raise InputError(
            f"{directory / changed[0]}: not what {NAME} beside it says: it was damaged in DVC's "
            "cache, or edited. Run make check-cache, which removes what is damaged, then dvc "
            f"repro; or remove {NAME} if the change is meant"
        )
