"""Stages killed at random moments and started again, compared with stages let be.

Use: python tests/drill.py KILLS [SEED]
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import project

OUTPUTS = {
    "sft-warmup": ("models/sft", "results/curves/sft"),
    "train": ("models/policy", "results/curves/train"),
}
# Enough steps that most kills come in the middle of training.
LONG = {"sft.epochs": 8, "train.epochs": 8, "runtime.checkpoint_minutes": 0}


def start(place: Path, stage: str) -> subprocess.Popen[str]:
    """A stage as DVC starts it, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage.replace('-', '_')}"],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def digests(place: Path, stage: str) -> dict[str, str]:
    """Of all that a stage writes, by file."""
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for output in OUTPUTS[stage]
        for file in sorted((place / output).rglob("*"))
        if file.is_file()
    }


def remove_outputs(place: Path, stage: str) -> None:
    for output in OUTPUTS[stage]:
        shutil.rmtree(place / output)


def undisturbed(place: Path, stage: str) -> tuple[dict[str, str], float]:
    """What a stage writes when it is let be, and the seconds that it takes."""
    began = time.monotonic()
    process = start(place, stage)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return digests(place, stage), time.monotonic() - began


def checkpoints(place: Path) -> set[str]:
    """Those that are whole; a stage at work may add and remove some meanwhile."""
    found = set()
    # Unlike a glob, it passes over what is gone before it has been looked at.
    for directory, names, _ in os.walk(place / ".checkpoints"):
        if len(Path(directory).relative_to(place).parts) == 3:
            found |= {f"{directory}/{name}" for name in names if not name.startswith(".")}
    return found


def wait(process: subprocess.Popen[str], place: Path, seconds: float, *, keeps: bool) -> None:
    """Let a stage work for so many seconds, if it does so long.

    Args:
        keeps: count from its first checkpoint on.
    """
    before = checkpoints(place)
    while keeps and process.poll() is None and not checkpoints(place) - before:
        time.sleep(0.01)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def killed(place: Path, stage: str, kills: int, seconds: float, rng: random.Random) -> list[str]:
    """Kill a stage this many times, then let it end.

    By turns at any moment, or soon after it has kept its state.

    Returns:
        What each start said about going on, empty where it began anew.
    """
    told = []
    remove_outputs(place, stage)
    done = 0
    while True:
        process = start(place, stage)
        if done < kills:
            keeps = done % 2 == 0
            wait(process, place, seconds * rng.uniform(0, 0.3 if keeps else 1.1), keeps=keeps)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        told += [line for line in errors.splitlines() if "goes on after" in line] or [""]
        if process.returncode == 0:
            return told
        assert process.returncode == -signal.SIGKILL, errors
        done += 1


def drill(place: Path, kills: int, rng: random.Random) -> None:
    """Kill both training stages, `kills` times in all, up to three times in one run."""
    done, resumed = 0, 0
    expected = {stage: undisturbed(place, stage) for stage in OUTPUTS}
    while done < kills:
        for stage, (wanted, seconds) in expected.items():
            times = min(rng.randint(1, 3), kills - done)
            if not times:
                continue
            told = killed(place, stage, times, seconds, rng)
            assert digests(place, stage) == wanted, f"{stage}: {told}"
            assert not checkpoints(place), "checkpoints left behind"
            done += len(told) - 1
            resumed += sum(map(bool, told))
            print(f"{done} kills, {resumed} starts went on from a checkpoint", flush=True)
    assert resumed, "no kill came in the middle of the work"


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as directory:
        small = project.copy(Path(directory) / "small")
        project.set_params(small, project.SMALL)
        project.repro(small)
        project.set_params(small, LONG)
        drill(small, wanted, random.Random(seed))
