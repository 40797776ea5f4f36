"""The small pipeline that several tests look at, and one thread a test process."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import project
import pytest
import torch
from accelerate.state import AcceleratorState
from browsing import CHROMIUM, QUIET
from filelock import FileLock
from playwright.sync_api import Browser, sync_playwright

from preference.store import mapped

# That a busy machine is slow is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
# A script that starts this in the background has it ignored, and so have all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# On tiny tensors more threads only wait for each other; in the processes that tests start, too.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def copies_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that a test reads itself are not copied into the project."""
    monkeypatch.setattr(mapped, "ROOT", tmp_path_factory.getbasetemp() / "mapped")


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """accelerate keeps one state a process, precision included: no test gets another's."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller default, run by DVC from an empty copy of the project; not to be changed."""
    base = tmp_path_factory.getbasetemp()
    # Of several test processes, the first one makes it; each has a copy of its own.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "made"
    with FileLock(shared / "made.lock"):
        if not made.exists():
            small = project.copy(tmp_path_factory.mktemp("small"))
            project.set_params(small, project.SMALL)
            assert project.repro(small) == project.STAGE_NAMES
            small.rename(made)
    return shutil.copytree(made, base / "finished", symlinks=True)


@pytest.fixture
def another(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, with data, models, results and cache, in a place beyond ASCII."""
    return shutil.copytree(finished, tmp_path / "Größe und Maß", symlinks=True)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = shutil.which("mount") and not subprocess.run(command, check=False).returncode
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The one that pages are looked at with."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()
