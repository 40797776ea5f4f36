"""Signals that wait for the end of a block."""

import signal
import threading

import pytest

from preference.core.signals import SIGNALS, Stopped, held


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def hold(heard: list[int | None], *numbers: signal.Signals) -> None:
    """Send signals within a block that holds them, and note after each which one is held."""
    with held() as request:
        for number in numbers:
            signal.raise_signal(number)
            heard.append(request.number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_held_signal_is_raised_at_the_end(number: signal.Signals) -> None:
    before, heard = handlers(), list[int | None]()
    with pytest.raises(Stopped, match=number.name):
        hold(heard, number)
    assert heard == [number]
    assert handlers() == before


def test_a_second_signal_does_not_wait() -> None:
    heard: list[int | None] = []
    with pytest.raises(Stopped, match="SIGTERM"):
        hold(heard, signal.SIGINT, signal.SIGTERM)
    assert heard == [signal.SIGINT]


def test_another_thread_holds_nothing() -> None:
    found = []

    def look() -> None:
        with held():
            found.append(handlers())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [handlers()]
