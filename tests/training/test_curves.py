"""Curves while training is at work, and what they have become at its end."""

from contextlib import suppress
from pathlib import Path

import project
import pytest
import sessions
from accelerate import PartialState

from preference.training.curves import Curves

DONE = Path("results/curves/train")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(directory: Path, axis: str, name: str) -> list[tuple[int, float]]:
    lines = (directory / axis / "plots/metrics" / f"{name}.tsv").read_text().splitlines()[1:]
    return [(int(step), float(value)) for step, value in (line.split("\t") for line in lines)]


def test_they_grow_in_sight_and_move_when_whole(place: Path) -> None:
    with Curves(DONE, sessions.make()) as curves:
        curves.add_epoch(0, {"pair_acc": 0.5})
        for loss in (0.7, 0.6):
            curves.add_step({"loss": loss, "grad_norm": 1.0})
        assert rows(Path("live/train"), "steps", "loss") == [(1, 0.7), (2, 0.6)]
        assert rows(Path("live/train"), "epochs", "pair_acc") == [(0, 0.5)]
        assert not DONE.exists()
        curves.add_step({"loss": 0.5, "grad_norm": 1.0})
    assert rows(DONE, "steps", "loss") == [(1, 0.7), (2, 0.6), (3, 0.5)]
    assert not Path("live/train").exists()
    assert sorted(path.name for path in DONE.iterdir()) == ["epochs", "steps"]


def test_an_error_leaves_the_earlier_ones(place: Path) -> None:
    with Curves(DONE, sessions.make()) as curves:
        curves.add_step({"loss": 1.0})
    with suppress(ValueError), Curves(DONE, sessions.make()) as curves:
        curves.add_step({"loss": 2.0})
        raise ValueError
    assert rows(DONE, "steps", "loss") == [(1, 1.0)]
    assert not Path("live/train").exists()


def test_dvc_shows_them_while_they_grow(another: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(another)
    with Curves(DONE, sessions.make()) as curves:
        curves.add_step({"loss": 12.5})
        curves.add_step({"loss": 11.5})
        done = project.run(another, "dvc", "plots", "show", "-o", "shown", "live/train/dvc.yaml")
        listed = project.run(another, "dvc", "plots", "show", "-o", "all")
    assert (done.returncode, listed.returncode) == (0, 0), done.stderr + listed.stderr
    page = (another / "all/index.html").read_text()
    assert "live/train" in page
    assert "12.5" in page


def test_of_several_processes_one_writes(place: Path) -> None:
    session = sessions.make(trackers=["tensorboard"])
    # As in the second process.
    PartialState().process_index = 1
    with Curves(DONE, session) as curves:
        curves.add_step({"loss": 1.0})
    assert curves.step == 1
    assert list(place.iterdir()) == []
