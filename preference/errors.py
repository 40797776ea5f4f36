"""The one error that a user's input can cause."""


class InputError(Exception):
    """Something that the user gave cannot be used.

    The message says what was wrong, where (file, row or key) and what to do; commands print it
    alone, without a traceback, and exit with 1.
    """
