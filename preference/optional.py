"""Imports without what the imported library could use and this project never makes it use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let a library that does with or without a package do without: its import is start-up time.

    A package that is imported already stays as it is.
    """
    if package in sys.modules:
        yield
        return
    # The import system's own way to say that there is none.
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
