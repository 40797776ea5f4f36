"""Outputs that are whole or absent: written beside their place, moved there when complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_of(path: Path) -> Path:
    """Where what will stand at `path` is written."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success move the file or directory there.

    On failure the temporary is removed and what stood at `path` stays as it was.

    Args:
        temporary: a path to be used instead, on the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = temporary or temporary_of(path), path.with_name(f".{path.name}.old")
    # What a killed run left.
    if old.exists() and not path.exists():
        os.rename(old, path)
    remove(temporary)
    remove(old)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            # A directory cannot be replaced in one step: move the old one aside first.
            try:
                os.rename(path, old)
                os.rename(temporary, path)
            finally:
                # Also where a signal came between the two.
                if not path.exists():
                    os.rename(old, path)
            remove(old)
        else:
            os.replace(temporary, path)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
