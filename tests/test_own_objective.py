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
IPO = "\n".join(
    line.removeprefix("    ")
    for line in DOCS.split("nothing else:\n\n")[1].split("\n\nWith `")[0].splitlines()
)


def add(another: Path) -> None:
    (another / "preference/objectives/losses/ipo.py").write_text(IPO + "\n")
    project.set_params(another, {"train.objective": "ipo", "train.beta": 0.5})


def test_a_file_is_all_that_an_objective_needs(another: Path) -> None:
    add(another)
    assert project.repro(another) == ["train", "final-eval", "samples", "report"]
    final = json.loads((another / "results/metrics/final.json").read_text())
    found = [
        scores.read(another / f"data/{name}.parquet") for name in ("scores/final", "reference/test")
    ]
    policy, reference = (np.subtract(*of_model.of_pairs(True)) for of_model in found)
    assert final["loss"] == pytest.approx(np.mean((policy - reference - 1) ** 2))
    curve = another / "results/curves/train/epochs/plots/metrics/loss.tsv"
    first, *_, last = [float(line.split("\t")[1]) for line in curve.read_text().split("\n")[1:-1]]
    # Where it began, policy and reference were one.
    assert first == pytest.approx(1.0)
    assert last == pytest.approx(final["loss"])
    assert last < first
    assert "| SFT + IPO |" in (another / "results/table.md").read_text()
    assert "SFT + IPO" in (another / "results/report.html").read_text()
    assert "# SFT + IPO" in (another / "results/card.md").read_text()
    # A name that no file bears is refused, whatever the stage has to do with it.
    project.set_params(another, {"train.objective": "ip"})
    refused = project.run(another, "python", "-m", "stages.fetch_data")
    assert refused.returncode == 1
    assert "train.objective: 'ip' is unknown; did you mean ipo?" in refused.stderr


@pytest.mark.long
def test_a_sweep_takes_it_as_it_takes_others(another: Path) -> None:
    add(another)
    project.repro(another)
    study = {
        "title": "three objectives",
        "x": {"param": "train.beta", "title": "beta"},
        "runs": [{"train.objective": ["dpo", "ipo"], "train.beta": 0.5}],
    }
    YAML(typ="safe").dump(study, another / "study.yaml")
    project.git(another, "add", "--all")
    project.git(another, "commit", "-qm", "ipo")
    done = project.run(another, "python", "-m", "tools.sweep.main", "--study", "study.yaml")
    assert done.returncode == 0, done.stderr
    table = (another / "results/sweep.md").read_text().splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in table[2:4]]
    assert any("dpo" in name for name in names)
    assert any("ipo" in name for name in names)
    assert "IPO" in (another / "results/sweep.svg").read_text()
