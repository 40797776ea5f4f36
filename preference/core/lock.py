"""Locks: what two at once must not do, and what one does for all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from preference.core.errors import InputError

LOCKS = Path(".checkpoints")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Refuse to do what is being done already: both would write the same files.

    DVC's own locks end with DVC's process; a stage that outlived it is still at work.
    """
    LOCKS.mkdir(exist_ok=True)
    try:
        lock = FileLock(LOCKS / f"{name}.lock", blocking=False).acquire()
    except Timeout:
        raise InputError(
            f"{name} is already at work in this directory; wait until it is done, or stop it"
        ) from None
    with lock:
        yield


@contextmanager
def in_turn(file: Path) -> Iterator[None]:
    """Let one process at a time do something; the others wait for their turn.

    Args:
        file: the lock, the same to all of them.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        yield
