"""Recipes: what they make of the default, and when they may become the project's params."""

import shutil
from pathlib import Path
from typing import Any

import project
import pytest
from project import ROOT
from ruamel.yaml import YAML

from preference.core import params, sections
from preference.core.errors import InputError
from tools import use_recipe

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
DEFAULT = ROOT / "recipes" / "demo-dpo.yaml"


def values(path: Path) -> dict[str, Any]:
    """As the pipeline reads them, by dotted key."""
    return dict(sections.flat(YAML(typ="safe", pure=True).load(path)))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of params and recipes, committed; the working directory."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copyfile(DEFAULT, tmp_path / "params.yaml")
    project.git(tmp_path, "init", "-q")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(place: Path) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    project.git(place, "add", "--all")
    project.git(place, *who, "commit", "-q", "-m", "all")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_becomes_params_that_differ_only_where_it_says(
    recipe: Path, place: Path
) -> None:
    use_recipe.use(recipe.stem)
    params.load(place / "params.yaml")
    found, own = values(place / "params.yaml"), values(recipe)
    # A group that is null in the default gives way to the recipe's.
    default = {
        key: value
        for key, value in values(DEFAULT).items()
        if not any(name.startswith(f"{key}.") for name in own)
    }
    assert found == default | own
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in (default | own).items()
    }


@project.of_the_default
@pytest.mark.parametrize("recipe", [path for path in RECIPES if path != DEFAULT], ids=str)
def test_no_recipe_repeats_the_default(recipe: Path) -> None:
    assert recipe.read_text().startswith("# ")
    default = values(DEFAULT).items()
    assert not [key for key in values(recipe).items() if key in default]


def test_the_default_is_written_as_it_stands(place: Path) -> None:
    use_recipe.use("demo-kto")
    commit(place)
    use_recipe.use("demo-dpo")
    assert (place / "params.yaml").read_bytes() == DEFAULT.read_bytes()


def test_what_is_written_is_the_default_line_by_line_with_its_comments(place: Path) -> None:
    (place / "recipes/mine.yaml").write_text(
        "# Mine,\n# of two lines.\n"
        "train:\n  # Slower.\n  learning_rate: 2e-5\n  objective: kto\n"
        "data: {train_pairs: null}\n"
    )
    use_recipe.use("mine")
    expected = DEFAULT.read_text()
    for old, new in (
        ("learning_rate: 2.0e-4", "learning_rate: 2e-5"),
        ("  objective: dpo  ", "  # Slower.\n  objective: kto  "),
        ("train_pairs: 4500  ", "train_pairs: null  "),
    ):
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert (place / "params.yaml").read_text() == "# Mine,\n# of two lines.\n" + expected
    assert params.load(place / "params.yaml").train.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train:\n  bata: 0.1\n", "train.bata: unknown key; did you mean train.beta?"),
        ("bata: 0.1\n", "bata: unknown key"),
        ("seed:\n  deep: 1\n", "seed: "),
        ("train:\n  epochs: 1.5\n", "train.epochs: "),
        ("data: demo\n", "data: "),
        ("data:\n", "data: "),
        ("# Nothing.\n", "expected keys and values"),
        ("- seed\n", "expected keys and values"),
        ("seed: [\n", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "not valid YAML"),
    ],
)
def test_a_recipe_that_gives_no_params_is_refused_by_file_and_key(
    text: str, told: str, place: Path
) -> None:
    (place / "recipes/mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        use_recipe.use("mine")
    assert str(caught.value).startswith(f"recipes/mine.yaml: {told}")
    assert (place / "params.yaml").read_bytes() == DEFAULT.read_bytes()
    assert {path.name for path in place.iterdir()} == {".git", "params.yaml", "recipes"}


def test_uncommitted_changes_are_not_lost(place: Path) -> None:
    changed = DEFAULT.read_text().replace("seed: 42", "seed: 43")
    (place / "params.yaml").write_text(changed)
    with pytest.raises(InputError, match="uncommitted changes, which the recipe would overwrite"):
        use_recipe.use("demo-kto")
    assert (place / "params.yaml").read_text() == changed
    project.git(place, "checkout", "-q", "params.yaml")
    use_recipe.use("demo-kto")
    # The same one again loses nothing; another one would.
    use_recipe.use("demo-kto")
    with pytest.raises(InputError, match="uncommitted changes"):
        use_recipe.use("demo-dpo")
    assert params.load(place / "params.yaml").train.objective == "kto"


def test_without_git_nothing_is_overwritten(place: Path) -> None:
    shutil.rmtree(place / ".git")
    use_recipe.use("demo-dpo")
    with pytest.raises(InputError, match="the pipeline needs a git repository"):
        use_recipe.use("demo-kto")
    assert (place / "params.yaml").read_bytes() == DEFAULT.read_bytes()


def test_the_command(place: Path) -> None:
    def run(*names: str) -> tuple[int, str]:
        command = ("python", "-m", "tools.use_recipe", *names)
        done = project.run(place, *command, PYTHONPATH=str(ROOT))
        return done.returncode, done.stderr

    status, told = run("nothing")
    assert status == 1
    assert told.startswith("error: RECIPE=nothing: no such recipe; there are demo-dpo, demo-kto, ")
    assert run("demo-kto") == (0, "")
    assert params.load(place / "params.yaml").train.objective == "kto"
    assert run() == (0, "")
    (place / "params.yaml").write_text("seed: 1\n")
    status, told = run()
    assert status == 1
    assert told.startswith("error: params.yaml: data: missing")
