"""Digests of a directory's files, kept in it, so that what storage has damaged is noticed.

DVC takes a read-only file of its cache to be what its name says, and hands it back unread.
"""

import hashlib
import json
from pathlib import Path

from preference.files import write_json

NAME = "checksums.json"


def of_file(file: Path) -> str:
    """SHA-256, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def of_directory(directory: Path) -> dict[str, str]:
    """Of all files under it, by relative path; of its own record not."""
    return {
        str(file.relative_to(directory)): of_file(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != NAME
    }


def seal(directory: Path) -> None:
    """Write the record of what a directory holds into it."""
    write_json(directory / NAME, of_directory(directory))


def sealed(directory: Path) -> bool:
    return (directory / NAME).exists()


def differing(directory: Path) -> list[str]:
    """Files of a sealed directory that are not what its record says, missing ones too.

    Files that came later are in no record and differ as well. An unreadable record is itself
    what differs.
    """
    try:
        recorded = json.loads((directory / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [NAME]
    found = of_directory(directory)
    return sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
