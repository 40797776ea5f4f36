"""Signals that ask a program to stop, held until the work in hand is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop.

    Attributes:
        status: what a shell reports of a program that the signal ended.
        kept: where the state stands that the program can go on from, if it has kept any.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number
        self.kept: Path | None = None


@dataclass
class Request:
    """The signal that came while it was held, if any."""

    number: int | None = None


def stop_at_once() -> None:
    """From now on, let SIGINT and SIGTERM raise `Stopped`, so that what is half written is removed.

    Python alone does so for SIGINT; SIGTERM would end the process where it stands.
    """
    for number in SIGNALS:
        signal.signal(number, _raise)


@contextmanager
def held() -> Iterator[Request]:
    """Let the first signal wait until the end of the block, and raise it there; not a second."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def wait(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            raise Stopped(number)
        request.number = number

    before = {number: signal.signal(number, wait) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.number is not None:
        raise Stopped(request.number)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
