"""DVC at work: which stages ran, what they came to, why they failed, and how they are stopped."""

from pathlib import Path

import naive
import project
import pytest

from preference.core.errors import InputError
from preference.store import scores
from tools.sweep.follow import Outcome, error_in, follow, stages

STOPPED = """\
import pathlib, signal, time
def end(number, frame):
    time.sleep(0.5)
    pathlib.Path("ended").touch()
    raise SystemExit(1)
signal.signal(signal.SIGINT, end)
print("at work", flush=True)
time.sleep(60)
"""


def repro() -> Outcome:
    return follow(["repro"], lambda line: None)


def test_a_stage_ran_if_the_lock_file_says_so(tiny: Path) -> None:
    lines: list[str] = []
    first = follow(["repro"], lines.append)
    assert first.ran == {"words": 0.0, "train": 1.5, "eval": 0.0}
    assert (first.reused, first.error) == ([], "")
    assert first.metrics == {"final": {"pair_acc": 0.3}}
    assert first.seconds > 0
    assert "Running stage 'train':" in lines
    assert all(line == line.strip() != "" for line in lines)

    again = repro()
    assert (again.ran, again.reused) == ({}, ["words", "train", "eval"])
    assert again.metrics == first.metrics

    project.set_params(tiny, {"train.beta": 5.0})
    changed = repro()
    assert (changed.ran, changed.reused) == ({"train": 1.5, "eval": 0.0}, ["words"])
    assert changed.metrics == {"final": {"pair_acc": 0.5}}


def test_scores_are_those_that_are_there(tiny: Path) -> None:
    assert repro().scores == {}
    written = naive.make_scores([[-1.0, -2.0], [1, 2]], [[-3.0, -1.0], [1, 2]])
    (tiny / "data/scores").mkdir(parents=True)
    scores.write(tiny / "data/scores/final.parquet", written)
    (found,) = repro().scores.items()
    assert found[0] == "final"
    assert found[1].logps.tolist() == written.logps.tolist()


def test_a_failure_keeps_what_the_stage_said(tiny: Path) -> None:
    (tiny / "train.py").write_text("raise SystemExit('error: there is no device')")
    failed = repro()
    assert (failed.error, failed.reused, failed.metrics) == ("there is no device", (), {})
    assert failed.ran == {"words": 0.0}
    (tiny / "train.py").write_text("raise SystemExit(3)")
    assert "'train'" in repro().error


def test_a_command_that_fails_outside_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = repro()
    assert failed.error.startswith("you are not inside of a DVC repository")
    assert failed.ran == {}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            ["error: no device", "train: 9 pairs", "ERROR: failed to reproduce 'train'", "bye"],
            "no device",
        ),
        (["error: the first", "error: the last"], "the last"),
        (["Running", "ERROR: Unable to acquire lock.", "Any troubles?"], "Unable to acquire lock."),
        (["Killed"], "Killed"),
        ([], "DVC ended without a word"),
    ],
)
def test_why_it_failed(lines: list[str], why: str) -> None:
    assert error_in(lines) == why


def test_interrupted_it_lets_the_stage_end(tiny: Path) -> None:
    (tiny / "train.py").write_text(STOPPED)

    def told(line: str) -> None:
        if line == "at work":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(["repro"], told)
    assert (tiny / "ended").exists()


def test_stages_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "dvc.lock"
    assert stages(file) == {}
    file.write_text("schema: '2.0'\nstages:\n  train: {cmd: python}\n")
    assert stages(file) == {"train": {"cmd": "python"}}
    file.write_text("<<<<<<< HEAD\nstages: [\n")
    with pytest.raises(InputError, match=r"dvc\.lock: not valid YAML"):
        stages(file)
