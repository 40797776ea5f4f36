"""Imports without what the imported library could use and this project never makes it use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(package: str, library: str) -> Iterator[None]:
    """Let a library that does with or without a package do without: its import is start-up time.

    Where either is imported already, all stays as it is: the library may have found the package.
    """
    if package in sys.modules or library in sys.modules:
        yield
        return
    # The import system's own way to say that there is none.
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
