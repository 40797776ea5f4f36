"""Tables as arrays in files that are mapped: in memory once a host, and only what is looked at.

A table's copy lies in `.checkpoints/mapped/TABLE-KEY`. KEY stands for the table's content, and for
the code that reads it, so what has changed is never found. One process of a host makes the copy,
the others wait for it; each looks whether it is whole. There is one of each table: another takes
its place when the table has changed. It can be removed whenever no stage is at work.
"""

import hashlib
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from preference.core.errors import InputError, first_line
from preference.core.files import remove, replacing
from preference.core.lock import in_turn
from preference.store import checksums, tables

ROOT = Path(".checkpoints/mapped")
TRIES = 3  # copies that are overtaken, or turn out damaged as soon as they are there
Arrays = dict[str, np.ndarray]


class _OvertakenError(Exception):
    """The table has changed, or another host has made the copy: its processes have it mapped."""


def arrays(table: Path, parts: Callable[[Path], Iterator[Arrays]]) -> Arrays:
    """What a table holds, as arrays that cannot be written to.

    Args:
        parts: gives the table's arrays piece by piece, to be joined along their first axis.

    Raises:
        InputError: there is no such table, `parts` raises it, or the copy cannot be written.
    """
    tables.require(table)
    for _ in range(TRIES):
        stamp, place = _stamp(table), _place(table)
        try:
            before = _stamp(place)
            found = _whole(place) if before else None
            if found is not None:
                return found
            with in_turn(ROOT / ".lock"):
                # Whoever had the lock before may have made it.
                if _stamp(place) == before:
                    for old in ROOT.glob("[!.]*"):
                        if old.name[:-16] == place.name[:-16]:
                            remove(old)
                    with (
                        suppress(_OvertakenError),
                        replacing(place, ROOT / f".{socket.gethostname()}.tmp") as directory,
                    ):
                        _write(directory, parts(table))
                        if place.exists() or _stamp(table) != stamp:
                            raise _OvertakenError
        except OSError as error:
            raise InputError(
                f"{place}: a copy of {table}, from which it is mapped into memory, cannot be kept "
                f"there ({first_line(error)}); make room for as much as the table's ids take, or "
                f"let {ROOT.parent} be a link to a directory that can be written to"
            ) from None
    raise InputError(f"{place}: is never what was written there; check the disk")


def _place(table: Path) -> Path:
    """Where the copy of a table, as it is now, belongs."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    try:
        digests = "".join(map(checksums.of_file, [table, *code]))
    except OSError as error:
        raise tables.damaged(table, error) from None
    key = hashlib.sha256(digests.encode()).hexdigest()[:16]
    return ROOT / f"{table.parent.name}-{table.stem}-{key}"


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells a file or directory from one that takes its place; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _whole(place: Path) -> Arrays | None:
    """The arrays of a copy; None where it is not as it was written, or goes away meanwhile."""
    with suppress(FileNotFoundError):
        if not checksums.differing(place):
            # Views without the class of mapped arrays, whose every slice would cost.
            return {
                file.stem: np.asarray(np.load(file, mmap_mode="r")) for file in place.glob("*.npy")
            }
        logging.warning("%s is damaged, and made anew", place)
    return None


def _write(directory: Path, parts: Iterator[Arrays]) -> None:
    """Write arrays piece by piece, each to a file of its own, and seal the directory."""
    directory.mkdir()
    files: dict[str, BinaryIO] = {}
    joined: Arrays = {}  # without rows
    rows: dict[str, int] = {}
    with ExitStack() as opened:
        for part in parts:
            for name, values in part.items():
                if name not in files:
                    files[name] = opened.enter_context((directory / f"{name}.npy").open("wb"))
                    joined[name], rows[name] = values[:0], 0
                    _write_header(files[name], values[:0], 0)
                files[name].write(np.ascontiguousarray(values, joined[name].dtype).data)
                rows[name] += len(values)
        for name, file in files.items():
            file.seek(0)
            _write_header(file, joined[name], rows[name])
    checksums.seal(directory)


def _write_header(file: BinaryIO, like: np.ndarray, rows: int) -> None:
    """That of an array with so many rows; numpy leaves room, so that it is as long for any."""
    descr = np.lib.format.dtype_to_descr(like.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (rows, *like.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
