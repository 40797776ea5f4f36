"""The lock: one at a time by name, and free again however its holder ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import project
import pytest

from preference.core.errors import InputError
from preference.core.lock import alone

HOLDER = (
    "from preference.core.lock import alone\nwith alone('it'): print('holds', flush=True); input()"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_is_held_by_one_process_until_it_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(project.ROOT)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holds\n"
        with (
            pytest.raises(InputError, match="it is already at work in this directory"),
            alone("it"),
        ):
            pass
        with alone("another"):
            pass
        # However it ends.
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with alone("it"):
            pass


def test_an_error_inside_lets_go() -> None:
    with pytest.raises(ZeroDivisionError), alone("it"):
        raise ZeroDivisionError
    with alone("it"):
        pass
