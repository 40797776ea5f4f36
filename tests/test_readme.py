"""What README and docs show is what was measured, and what they name is there."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import project
import pytest
from ruamel.yaml import YAML

from preference.core.params import OBJECTIVES
from preference.core.sections import flat
from preference.evaluation.statistics import Difference
from preference.report import markdown, results
from preference.report.health import Health
from preference.report.verdict import NOTHING_PUBLISHED, Outcome

NOT_COMMITTED = ("data/", "models/", "results/curves/")
README = (project.ROOT / "README.md").read_text()
DOCS = sorted((project.ROOT / "docs").glob("*.md"))
PAGES = {
    page.relative_to(project.ROOT).as_posix(): page.read_text()
    for page in [*(project.ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *DOCS]
}
ALL = "\n".join(PAGES.values())


@project.of_the_default
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
    # Of the verdict, and of what lengths explain, the metrics have only the word.
    table = results.table(found, Outcome(NOTHING_PUBLISHED), Health(compared["verdict"], "", []))
    verdict, *parts = table.strip().split("\n\n")
    assert written.startswith(verdict.strip())
    assert len(parts) == 3
    assert set(parts) <= set(written.strip().split("\n\n"))
    shown = README.split("<!-- results -->\n")[1].split("<!-- end of results -->")[0]
    assert shown == written, "put results/table.md between the two marks in README.md"


@pytest.mark.parametrize(
    ("mark", "file"), [("smollm2-hh", "smollm2-hh/table.md"), ("seeds", "seeds.md")]
)
def test_excerpts_are_of_the_committed_tables(mark: str, file: str) -> None:
    shown = README.split(f"<!-- {mark} -->\n")[1].split(f"<!-- end of {mark} -->")[0]
    whole = (project.ROOT / "results" / file).read_text().splitlines()
    assert shown.splitlines()
    assert set(shown.splitlines()) <= set(whole)


def test_kept_results_are_of_their_recipe() -> None:
    asked = YAML(typ="safe").load(project.ROOT / "recipes/smollm2-hh.yaml")
    kept = YAML(typ="safe").load(project.ROOT / "results/smollm2-hh/params.yaml")
    assert dict(flat(asked)).items() <= dict(flat(kept)).items()


@project.of_the_default
def test_seeds_began_with_these_results() -> None:
    lines = (project.ROOT / "results/seeds.md").read_text().splitlines()
    seed = YAML(typ="safe").load(project.ROOT / "params.yaml")["seed"]
    assert f"seeds of DPO: {', '.join(str(seed + n) for n in range(5))}." in " ".join(lines)


@project.of_the_default
def test_the_screen_has_every_objective_and_began_with_these_results() -> None:
    rows = (project.ROOT / "results/screen.md").read_text().splitlines()[2:]
    names = [row.split(" | ")[1] for row in rows if row.startswith("| ")]
    for name in OBJECTIVES:
        assert any(variant.startswith(f"{name}-beta-") for variant in names), name
    final = results.read_metrics(project.ROOT / "results/metrics/final.json")
    assert f" | {final['pair_acc']:.4f} | " in rows[0]


@project.of_the_default
def test_sweep_began_with_these_results() -> None:
    row = (project.ROOT / "results/sweep.md").read_text().splitlines()[2]
    final = results.read_metrics(project.ROOT / "results/metrics/final.json")
    # The first variant of every study is what params ask for.
    assert f" | {' | '.join(markdown.estimates(final, decimals=4))} |" in row
    assert row.startswith("| dpo-")


@project.of_the_default
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


@project.of_the_default
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


def test_results_are_the_users_own_where_params_or_results_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUIRE_DEFAULT", raising=False)
    shutil.copytree(project.ROOT / "recipes", tmp_path / "recipes")
    shutil.copyfile(tmp_path / project.DEFAULT, tmp_path / "params.yaml")
    table = tmp_path / "results/table.md"
    table.parent.mkdir()
    table.write_text("as committed\n")
    # Where there is no git, nothing says that they were changed.
    assert not project.own(tmp_path)
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-q", "-m", "all"]):
        project.git(tmp_path, *command)
    assert not project.own(tmp_path)
    table.write_text("as run again\n")
    assert project.own(tmp_path) == "dvc.lock or results/ are your own: git has others"
    project.set_params(tmp_path, {"train.objective": "kto"})
    told = "params.yaml is your own: it is not recipes/demo-dpo.yaml"
    assert project.own(tmp_path) == told
    project.git(tmp_path, *who, "commit", "-q", "-a", "-m", "mine")
    assert project.own(tmp_path) == told
    monkeypatch.setenv("REQUIRE_DEFAULT", "1")
    assert not project.own(tmp_path)


def test_every_pinned_package_is_explained() -> None:
    lines = (project.ROOT / "requirements.txt").read_text().splitlines()
    page = PAGES["docs/dependencies.md"]
    for name in [line.split("==")[0] for line in lines if "==" in line]:
        assert f"`{name}`" in page, name


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 150
    for page in DOCS:
        assert f"](docs/{page.name})" in README, page.name


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_begins_with_what_it_is_for_and_a_command(page: str) -> None:
    title, _, text = PAGES[page].partition("\n\n")
    purpose, _, rest = text.partition("\n\n")
    assert re.fullmatch("# .+", title)
    assert re.match(r"[A-Z`]", purpose)
    assert rest.startswith("    ")


COMMAND = re.compile(r"(?:^ {4}(?:.*&& )?|`)make ([a-z-]+)", re.M)


@pytest.mark.parametrize("target", sorted(set(COMMAND.findall(ALL))))
def test_commands_that_the_pages_name_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (project.ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"RECIPE=([\w-]+)", ALL)) - {"name"}))
def test_recipes_that_the_pages_name_exist(name: str) -> None:
    assert (project.ROOT / f"recipes/{name}.yaml").exists()


@project.of_the_default
def test_the_docs_have_each_recipe() -> None:
    for recipe in (project.ROOT / "recipes").glob("*.yaml"):
        assert f"`{recipe.stem}`" in PAGES["docs/experiments.md"], recipe.stem


def test_programs_that_the_pages_name_exist() -> None:
    for module in set(re.findall(r"python -m ((?:stages|tools|benchmarks)[\w.]*)", ALL)):
        assert (project.ROOT / f"{module.replace('.', '/')}.py").exists(), module


def links() -> Iterator[tuple[str, str]]:
    """Each link of each page to another file or place, but for those on the web."""
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if not link.startswith("http"):
                yield page, link


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), sorted(set(links())))
def test_links_lead_somewhere(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (project.ROOT / page).parent / path if path else project.ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())
