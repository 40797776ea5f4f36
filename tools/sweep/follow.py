"""DVC at work: which stages run, for how long, which are reused, and why it failed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preference.core.errors import InputError

RUNS = re.compile(r"Running stage '(.+)':$")
REUSED = re.compile(r"Stage '(.+)' (?:didn't change, skipping|is cached - skipping run)")
DONE = re.compile(r"Updating lock file |Ran experiment")
# For people, of a traceback, and of DVC, which only says which stage it was.
ERRORS = tuple(
    map(re.compile, (r"error: (.+)", r"([\w.]+(?:Error|Exception): .+)", r"ERROR: (.+)"))
)
PATIENCE = 60  # seconds that a stage may take to end


@dataclass
class Log:
    """What DVC's output says of its stages, taken in line by line.

    Attributes:
        ran: seconds by stage that ran to its end.
        reused: stages whose results were there.
        running: the stage at work, and since when.
    """

    ran: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    running: tuple[str, float] | None = None
    _said: dict[re.Pattern[str], str] = field(default_factory=dict)

    def add(self, line: str, now: float) -> None:
        """Take in a line that was written at `now`, in seconds on any clock."""
        line = line.strip()
        for pattern in ERRORS:
            if found := pattern.match(line):
                self._said[pattern] = found[1]
        runs, reused = RUNS.match(line), REUSED.match(line)
        if runs or reused or DONE.match(line):
            self.end(now)
        if runs:
            self.running = runs[1], now
        elif reused:
            self.reused.append(reused[1])

    def end(self, now: float) -> None:
        """Take in that the stage at work, if any, has come to its end."""
        if self.running is not None:
            stage, since = self.running
            self.ran[stage], self.running = now - since, None

    @property
    def done(self) -> int:
        """How many stages have their results."""
        return len(self.ran) + len(self.reused)

    @property
    def error(self) -> str:
        """Why it failed, in one line."""
        said = next((self._said[p] for p in ERRORS if p in self._said), "DVC ended without a word")
        return said if self.running is None else f"{self.running[0]}: {said}"


Told = Callable[[Log, str], None]  # hears of every line of output, after the log


class Failed(InputError):
    """DVC could not finish.

    Attributes:
        log: what was done until then.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(log.error)
        self.log = log


def follow(command: Sequence[str], directory: Path, told: Told) -> Log:
    """Run one of DVC's commands in a directory.

    Interrupted, it lets stages at work end first, as they would on Ctrl-C.

    Raises:
        Failed: the command did.
    """
    # Stages are run as plain `python`.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    log = Log()
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", *command],
        cwd=directory,
        env={**os.environ, "PATH": programs},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A signal goes to DVC and its stages together.
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.add(line, time.monotonic())
                told(log, line.strip())
            status = process.wait()
        except BaseException:
            _stop(process)
            raise
    if status:
        raise Failed(log)
    log.end(time.monotonic())
    return log


def _stop(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
        return
