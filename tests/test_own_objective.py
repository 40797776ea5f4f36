"""An objective in a file of its own is trained with, scored, reported and swept."""

import json
from pathlib import Path

import numpy as np
import project
import pytest
from ruamel.yaml import YAML

from preference.store import scores

# The example of docs/objectives.md.
DOCS = (project.ROOT / "docs/objectives.md").read_text()
SQUARED_HINGE = "\n".join(
    line.removeprefix("    ")
    for line in DOCS.split("nothing else:\n\n")[1].split("\n\nWith `")[0].splitlines()
)

ASKED = {"train.objective": "squared_hinge", "train.beta": 0.5, "train.options": {"margin": 2.0}}


def add(another: Path) -> None:
    file = another / "preference/losses/squared_hinge.py"
    file.write_text(SQUARED_HINGE + "\n")


def test_a_file_is_all_that_an_objective_needs(another: Path) -> None:
    add(another)
    # What others have trained with stays as it is.
    assert project.repro(another) == []
    project.set_params(another, ASKED)
    assert project.repro(another) == ["train", "final-eval", "samples", "report"]
    final = json.loads((another / "results/metrics/final.json").read_text())
    found = [
        scores.read(another / f"data/{name}.parquet") for name in ("scores/final", "reference/test")
    ]
    policy, reference = (np.subtract(*of_model.of_pairs(True)) for of_model in found)
    assert final["loss"] == pytest.approx(
        np.mean(np.maximum(0, 2 - 0.5 * (policy - reference)) ** 2)
    )
    curve = another / "results/curves/train/epochs/plots/metrics/loss.tsv"
    first, *_, last = [float(line.split("\t")[1]) for line in curve.read_text().split("\n")[1:-1]]
    # Where it began, policy and reference were one.
    assert first == pytest.approx(4.0)
    assert last == pytest.approx(final["loss"])
    assert last < first
    assert "| SFT + Squared hinge |" in (another / "results/table.md").read_text()
    assert "SFT + Squared hinge" in (another / "results/report.html").read_text()
    assert "# SFT + Squared hinge" in (another / "results/card.md").read_text()
    # An option that it does not declare is refused,
    project.set_params(another, {"train.options": {"margni": 2.0}})
    refused = project.run(another, "python", "-m", "stages.fetch_data")
    assert refused.returncode == 1
    assert "train.options.margni: unknown key; did you mean train.options.margin?" in refused.stderr
    # and a name that no file bears, whatever the stage has to do with it.
    project.set_params(another, {"train.objective": "squared_hing"})
    refused = project.run(another, "python", "-m", "stages.fetch_data")
    assert refused.returncode == 1
    assert (
        "train.objective: 'squared_hing' is unknown; did you mean squared_hinge?" in refused.stderr
    )


@pytest.mark.long
def test_a_sweep_takes_it_as_it_takes_others(another: Path) -> None:
    add(another)
    project.set_params(another, ASKED)
    project.repro(another)
    study = {
        "title": "three objectives",
        "x": {"param": "train.beta", "title": "beta"},
        "runs": [ASKED, {**ASKED, "train.objective": "dpo", "train.options": {}}],
    }
    YAML(typ="safe").dump(study, another / "study.yaml")
    project.git(another, "add", "--all")
    project.git(another, "commit", "-qm", "squared hinge")
    done = project.run(another, "python", "-m", "tools.sweep.main", "--study", "study.yaml")
    assert done.returncode == 0, done.stderr
    table = (another / "results/sweep.md").read_text().splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in table[2:4]]
    assert any("dpo" in name for name in names)
    assert any("squared_hinge" in name for name in names)
    assert "Squared hinge" in (another / "results/sweep.svg").read_text()
