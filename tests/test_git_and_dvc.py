"""Git and DVC agree after each step of a round trip: nothing left behind, nothing to run again."""

from pathlib import Path

import project
import pytest

# As git says it: changed files that it tracks.
CHANGED = " M"


def done(place: Path, *command: str) -> str:
    """What a command says that has to work."""
    finished = project.run(place, *command)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def changed(place: Path) -> set[str]:
    """The files that git takes for changed; of those that it does not know there are none."""
    lines = project.git(place, "status", "--porcelain").splitlines()
    assert {line[:2] for line in lines} <= {CHANGED}, lines
    return {line[3:] for line in lines}


def is_current(place: Path) -> bool:
    """Whether DVC finds all as the params ask for it, and would run no stage."""
    return "Data and pipelines are up to date." in done(place, "dvc", "status")


def objective(place: Path) -> set[str]:
    """Whose curves there are, by the metrics of one objective alone."""
    curves = place / "results/curves/train/epochs/plots/metrics"
    return {"dpo_acc", "label_acc"} & {file.stem for file in curves.iterdir()}


@pytest.mark.long
def test_every_step_of_a_round_trip(another: Path, tmp_path: Path) -> None:
    here = another
    project.git(here, "add", "--all")
    project.git(here, "commit", "-q", "-m", "dpo")
    assert (changed(here), is_current(here)) == (set(), True)

    # Another objective, whose metrics bear other names.
    project.set_params(here, {"train.objective": "kto"})
    assert "train" in project.repro(here)
    assert {"params.yaml", "dvc.lock", "results/table.md"} <= changed(here)
    assert (objective(here), is_current(here)) == ({"label_acc"}, True)

    project.git(here, "checkout", "-q", ".")
    done(here, "dvc", "checkout")
    assert (changed(here), is_current(here)) == (set(), True)
    assert objective(here) == {"dpo_acc"}

    done(here, "dvc", "exp", "run", "--name", "kto", "--set-param", "train.objective=kto")
    project.git(here, "checkout", "-q", ".")
    done(here, "dvc", "checkout")
    assert (changed(here), is_current(here)) == (set(), True)
    done(here, "dvc", "exp", "apply", "kto")
    assert {"params.yaml", "dvc.lock", "results/table.md"} <= changed(here)
    assert (objective(here), is_current(here)) == ({"label_acc"}, True)

    project.git(here, "commit", "-q", "-a", "-m", "kto")
    assert (changed(here), is_current(here)) == (set(), True)

    remote, bare = tmp_path / "remote", tmp_path / "bare.git"
    done(here, "dvc", "remote", "add", "--default", "store", str(remote))
    project.git(here, "commit", "-q", "-a", "-m", "remote")
    project.git(tmp_path, "init", "-q", "--bare", str(bare))
    project.git(here, "remote", "add", "origin", str(bare))
    done(here, "dvc", "push")
    project.git(here, "push", "-q", "origin", "HEAD:main")
    assert (changed(here), is_current(here)) == (set(), True)
    assert "in sync" in done(here, "dvc", "status", "--cloud")

    there = tmp_path / "there"
    project.git(tmp_path, "clone", "-q", "--branch", "main", str(bare), str(there))
    assert changed(there) == set()
    done(there, "dvc", "pull")
    assert (changed(there), is_current(there)) == (set(), True)
    assert objective(there) == {"label_acc"}
    assert project.repro(there) == []
