"""The one error that a user's input can cause, and how it quotes others."""


class InputError(Exception):
    """Something that the user gave cannot be used.

    The message says what was wrong, where (file, row or key) and what to do; commands print it
    alone, without a traceback, and exit with 1.
    """


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough to be part of a message."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:300]}"
