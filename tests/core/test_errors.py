"""What libraries' errors say, in one line, and which of them mean a full disk."""

import errno

import pytest

from preference.core.errors import first_line, is_full_disk


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(" too long\nand more"), "ValueError: too long"),
        (KeyError(), "KeyError: "),
        (OSError(5, "broken"), "OSError: [Errno 5] broken"),
        (RuntimeError("x" * 1000), f"RuntimeError: {'x' * 300}"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "in any language"), True),
        (OSError(errno.EDQUOT, "the same for one user"), True),
        (RuntimeError("Rust says: No space left on device (os error 28)"), True),
        (caused(ValueError("outer"), caused(KeyError(), OSError(errno.EFBIG, ""))), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (caused(ValueError("outer"), KeyError("inner")), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert is_full_disk(error) == full
