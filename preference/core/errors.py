"""The one error that a user's input can cause, and how it quotes others."""

import errno
from collections.abc import Iterator

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputError(Exception):
    """Something that the user gave cannot be used.

    The message says what was wrong, where (file, row or key) and what to do; commands print it
    alone, without a traceback, and exit with 1.
    """


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough to be part of a message."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:300]}"


def one_line(error: BaseException) -> str:
    """All that an error of a library says, where its first line alone tells no cause."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room.

    The libraries that write have no class of error in common for this.
    """
    return any(
        getattr(one, "errno", None) in NO_SPACE or "No space left" in str(one)
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
