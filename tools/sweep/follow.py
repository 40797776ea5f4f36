"""DVC at work in a project, and what became of the pipeline by it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preference.core import durations
from preference.core.errors import InputError
from preference.store import scores
from preference.store.scores import Scores

LOCK, METRICS = Path("dvc.lock"), Path("results/metrics")
SCORES = {
    "baseline": Path("data/scores/baseline.parquet"),
    "sft": Path("data/reference/test.parquet"),
    "final": Path("data/scores/final.parquet"),
}

Metrics = Mapping[str, Mapping[str, Any]]  # by file, without the suffix
Told = Callable[[str], object]  # hears of every line of DVC's output


_AT_WORK: set["subprocess.Popen[str]"] = set()


@dataclass(frozen=True)
class Place:
    """Where DVC runs: a directory, and what the environment has there beside what it has here."""

    directory: Path = Path()
    environment: Mapping[str, str] = field(default_factory=dict)


HERE = Place()


@dataclass(frozen=True)
class Outcome:
    """What became of the pipeline.

    Attributes:
        seconds: on the clock, from beginning to end.
        ran: seconds by stage that ran.
        reused: stages whose results were there; none of a run that failed.
        metrics: all of them; none of a run that failed.
        error: why it failed.
        scores: of the test responses by each model; none of a run that failed.
    """

    seconds: float
    ran: Mapping[str, float]
    reused: Sequence[str] = ()
    metrics: Metrics = field(default_factory=dict)
    error: str = ""
    scores: Mapping[str, Scores] = field(default_factory=dict)


def follow(command: Sequence[str], told: Told, place: Place = HERE) -> Outcome:
    """Run one of DVC's commands; the stages that it ran are those that changed in `dvc.lock`."""
    project = place.directory
    begun, names, before = time.monotonic(), stages(project / "dvc.yaml"), stages(project / LOCK)
    error = run(command, told, place)
    seconds, noted, after = (
        time.monotonic() - begun,
        durations.known(project),
        stages(project / LOCK),
    )
    ran = {name: noted.get(name, 0.0) for name in names if after.get(name) != before.get(name)}
    if error:
        return Outcome(seconds, ran, error=error)
    files = (project / METRICS).glob("*.json")
    metrics = {file.stem: json.loads(file.read_bytes()) for file in files}
    reused = [name for name in names if name not in ran]
    # Now: the next run in this place writes others.
    scored = {name: project / file for name, file in SCORES.items()}
    read = {name: scores.read(file) for name, file in scored.items() if file.exists()}
    return Outcome(seconds, ran, reused, metrics, scores=read)


def stages(file: Path) -> dict[str, Any]:
    """The stages of `dvc.yaml` or of a lock file, by name; none where there is no file.

    Raises:
        InputError: it is not YAML.
    """
    try:
        return (YAML(typ="safe", pure=True).load(file) or {}).get("stages", {})
    except FileNotFoundError:
        return {}
    except YAMLError as error:
        raise InputError(f"{file}: not valid YAML: {error}") from None


def run(command: Sequence[str], told: Told, place: Place = HERE) -> str:
    """Run one of DVC's commands; why it failed, in one line, if it did.

    Interrupted, it lets stages at work end first, as they would on Ctrl-C.
    """
    # Stages are run as plain `python`.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", *command],
        cwd=place.directory,
        env={**os.environ, "PATH": programs, **place.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A signal goes to DVC and its stages together.
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        _AT_WORK.add(process)
        try:
            for line in filter(None, map(str.strip, process.stdout)):
                told(line)
                said.append(line)
            failed = process.wait()
        except BaseException:
            interrupt()
            # What is still said would fill the pipe, and who waits there does not end.
            process.stdout.read()
            process.wait()
            raise
        finally:
            _AT_WORK.discard(process)
    return error_in(said) if failed else ""


def interrupt() -> None:
    """Ask all that is at work, in whichever thread, to end; each is asked once."""
    while _AT_WORK:
        with suppress(ProcessLookupError):
            os.killpg(_AT_WORK.pop().pid, signal.SIGINT)


def error_in(lines: Sequence[str]) -> str:
    """Why DVC failed: the last error of a stage, else DVC's own, else what DVC said last."""
    for begun in ("error: ", "ERROR: ", ""):
        if found := [line for line in lines if line.startswith(begun)]:
            return found[-1].removeprefix(begun)
    return "DVC ended without a word"
