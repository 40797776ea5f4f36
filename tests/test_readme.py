"""What the README shows is what was measured, and what it names is there."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import project
import pytest
from ruamel.yaml import YAML

from preference.evaluation.statistics import Difference
from preference.report import markdown, results
from preference.report.health import Health
from preference.report.verdict import NOTHING_PUBLISHED, Outcome

NOT_COMMITTED = ("data/", "models/", "results/curves/")
README = (project.ROOT / "README.md").read_text()


def test_results_are_those_of_the_committed_metrics() -> None:
    metrics = project.ROOT / "results/metrics"
    rows = {"baseline": "baseline", "SFT": "sft", "SFT + DPO": "final"}
    titles = {name: title for title, name in rows.items()}
    compared = json.loads((project.ROOT / "results/comparison.json").read_text())
    comparisons: dict[str, dict[str, Difference]] = {}
    for after, before in (("final", "baseline"), ("sft", "baseline"), ("final", "sft")):
        comparisons[f"{titles[after]} - {titles[before]}"] = {
            metric: Difference(
                *(
                    compared[f"{after}_vs_{before}_{metric}_{field}"]
                    for field in ("difference", "low", "high", "p_value")
                )
            )
            for metric in ("pair_acc", "margin")
        }
    found = results.rows(
        {title: results.read_metrics(metrics / f"{name}.json") for title, name in rows.items()},
        comparisons,
        decimals=4,
    )
    written = (project.ROOT / "results/table.md").read_text()
    said = Health(compared["verdict"], written.partition(".** ")[2].partition("\n")[0], [])
    assert written == results.table(found, Outcome(NOTHING_PUBLISHED), said)
    assert README.split("<!-- results -->\n")[1].split("<!-- end of results -->")[0] == written


def test_sweep_began_with_these_results() -> None:
    row = (project.ROOT / "results/sweep.md").read_text().splitlines()[2]
    final = results.read_metrics(project.ROOT / "results/metrics/final.json")
    assert row.startswith(
        f"| dpo-label_noise-0 | {' | '.join(markdown.estimates(final, decimals=4))} |"
    )


def test_default_is_the_committed_recipe() -> None:
    recipe = (project.ROOT / "recipes/demo-dpo.yaml").read_bytes()
    assert (project.ROOT / "params.yaml").read_bytes() == recipe


def digest(path: Path) -> str:
    """What DVC notes of a file, or of a directory and all in it."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    listed = [{"md5": digest(f), "relpath": f.relative_to(path).as_posix()} for f in files]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def test_lock_file_was_made_with_the_committed_params_and_code() -> None:
    yaml = YAML(typ="safe")
    lock = yaml.load(project.ROOT / "dvc.lock")
    values = yaml.load(project.ROOT / "params.yaml")
    for stage in lock["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            found = values
            for part in key.split("."):
                found = found[part]
            assert found == value, key
        code = [dep for dep in stage["deps"] if not dep["path"].startswith(NOT_COMMITTED)]
        assert code
        for dep in code:
            assert digest(project.ROOT / dep["path"]) == dep["md5"], dep["path"]


def test_every_pinned_package_is_explained() -> None:
    lines = (project.ROOT / "requirements.txt").read_text().splitlines()
    for name in [line.split("==")[0] for line in lines if "==" in line]:
        assert f"`{name}`" in README, name


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^\s*make (\w+)", README, re.M))))
def test_commands_that_the_readme_names_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (project.ROOT / "Makefile").read_text(), re.M)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (project.ROOT / shlex.split(link)[0]).exists(), link
