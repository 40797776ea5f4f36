"""The lock against a second run: what two at once must not do."""

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
