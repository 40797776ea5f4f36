"""Names of files that come from outside, with a repository or inside of its files."""

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath


def leads_out(name: str) -> bool:
    """Whether a name means a file outside of the directory that it should be relative to.

    Absolute paths do, paths through a parent directory, and addresses of other hosts or inside of
    archives (`https://...`, `zip://...::...`).
    """
    kinds = PurePosixPath(name), PureWindowsPath(name)
    return (
        "://" in name
        or "::" in name
        or any(path.anchor or ".." in path.parts for path in kinds)
        or name.startswith("~")
    )


def texts(value: object) -> Iterator[str]:
    """Every text in a value of lists and mappings, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
