"""Experiments at work, or failed, have a state and no metrics; the table is DVC's."""

from pathlib import Path

import project
import pytest
from dvc.repo.experiments.serialize import (
    ExpExecutor,
    ExpRange,
    ExpState,
    LocalExpExecutor,
    SerializableExp,
)

from tools import experiments

METRICS = {"results/headline/final.json": {"data": {"pair_acc": 0.5}}}


def state(rev: str, *ranges: ExpRange) -> ExpState:
    """A commit or an experiment with metrics, of whatever run they are."""
    data = SerializableExp(rev, params={"params.yaml": {"data": {"seed": 1}}}, metrics=METRICS)
    return ExpState(rev, data=data, experiments=list(ranges) or None)


def experiment(rev: str, kind: str | None, where: str = "dvc-task") -> ExpRange:
    executor = ExpExecutor(kind, name=where, local=LocalExpExecutor()) if kind else None
    return ExpRange([state(rev)], executor=executor, name=rev)


def having_metrics(states: list[ExpState]) -> set[str]:
    ranges = [found for commit in states for found in commit.experiments or []]
    every = [*states, *(revision for found in ranges for revision in found.revs)]
    assert all(one.data.params for one in every)
    return {one.rev for one in every if one.data.metrics}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("dvc-task", {"workspace", "commit", "done", "older"}),
        # The working directory is the experiment's own meanwhile.
        ("workspace", {"commit", "done", "older"}),
    ],
)
def test_one_without_results_has_no_metrics(where: str, expected: set[str]) -> None:
    found = [
        experiment("at work", "running", where),
        experiment("broken", "failed"),
        experiment("done", "success"),
        experiment("older", None),
    ]
    states = experiments.own([state("workspace"), state("commit", *found)])
    assert having_metrics(states) == expected


def test_a_commit_that_dvc_cannot_read_stays_in_the_table() -> None:
    broken = ExpState("commit", experiments=[ExpRange([ExpState("at work")], None)])
    assert experiments.own([broken]) == [broken]


def test_it_takes_the_options_of_dvc(another: Path) -> None:
    project.git(another, "add", "--all")
    project.git(another, "commit", "-q", "-m", "results")
    options = ("--md", "--drop", r"(?!Experiment|results/headline/final\.json)")
    done = project.run(another, "python", "-m", "tools.experiments", *options)
    assert done.returncode == 0, done.stderr
    assert "results/headline/final.json:pair_acc" in done.stdout
    assert "| workspace" in done.stdout
    assert "learning_rate" not in done.stdout
