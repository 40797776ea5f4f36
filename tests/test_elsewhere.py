"""Experiments that run in a copy of the project give what the project gives, wherever it lies."""

import json
from pathlib import Path

import project
import pytest
from dvc.repo import Repo
from model_cases import make_base
from ruamel.yaml import YAML
from source_helpers import ROWS, write_jsonl

from tools.sweep import copies
from tools.sweep.follow import Place

NAME = "elsewhere"


@pytest.fixture
def fetching(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project, in a directory of the test's choice, whose only stages fetch data and model."""
    place = project.copy(tmp_path / request.param)
    yaml = YAML()
    stages = yaml.load(place / "dvc.yaml")["stages"]
    yaml.dump({"stages": {n: stages[n] for n in ("fetch-data", "fetch-model")}}, place / "dvc.yaml")
    project.git(place, "commit", "-qam", "two stages")
    return place


def use(place: Path, source: object, base: str) -> None:
    """Commit the names of data and model, after writing them."""
    for path in [source] if isinstance(source, str) else ["mine", "../mine"]:
        for split in ("train", "test"):
            (place / path).mkdir(exist_ok=True)
            write_jsonl(place / path / split, [(f"{path} {split}", "other"), *ROWS])
    make_base(place / base)
    project.set_params(place, {"data.source": source, "model.base": base})
    # Of the model, git has all but the weights.
    (place / ".git/info/exclude").write_text("/mine/\n*.safetensors\nchecksums.json\n")
    project.git(place, "add", "--all")
    project.git(place, "commit", "-qm", "own data and model")


def outputs(lock: str) -> dict[str, list[object]]:
    """What the stages came to."""
    return {name: stage["outs"] for name, stage in YAML(typ="safe").load(lock)["stages"].items()}


def require_same(place: Path, base: str) -> None:
    """The experiment has what the project comes to with its seed; the model is called `base`."""
    (reference,) = project.git(
        place, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{NAME}"
    ).split()
    found = outputs(project.git(place, "show", f"{reference}:dvc.lock"))
    project.set_params(place, {"seed": 7})
    project.repro(place)
    assert found == outputs((place / "dvc.lock").read_text())
    assert set(found) == {"fetch-data", "fetch-model"}
    origin = json.loads((place / "models/base/origin.json").read_text())
    assert origin["base_model"].startswith(f"{base} (")


@pytest.mark.parametrize("fetching", ["plain"], indirect=True)
def test_beside_the_project_in_a_temporary_copy(fetching: Path) -> None:
    use(fetching, "../mine", "../my-model")
    done = project.run(fetching, "dvc", "exp", "run", "--temp", "-n", NAME, "-S", "seed=7")
    assert done.returncode == 0, done.stdout + done.stderr
    require_same(fetching, "my-model")


@pytest.mark.long
@pytest.mark.parametrize("fetching", ["Größe und Maß"], indirect=True)
def test_not_in_git_from_the_queue(fetching: Path, tmp_path: Path) -> None:
    use(fetching, "mine", "own-model")
    # Where the way to its cache is beyond ASCII, DVC makes no copies.
    cache = str(tmp_path / "cache")
    for command in (
        ["cache", "dir", "--local", cache],
        ["exp", "run", "--queue", "-n", NAME, "-S", "seed=7"],
        ["exp", "run", "--run-all"],
    ):
        done = project.run(fetching, "dvc", *command, LC_ALL="C")
        assert done.returncode == 0, done.stdout + done.stderr
    require_same(fetching, "own-model")


@pytest.mark.long
@pytest.mark.parametrize("fetching", ["Größe und Maß"], indirect=True)
def test_both_in_a_sweep(fetching: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(fetching, ["mine/train.jsonl", "../mine/*.jsonl"], "../Modell für uns")
    monkeypatch.chdir(fetching)
    monkeypatch.setenv("LC_ALL", "C")
    remote = 'url = "../../Größe"'
    (fetching / ".dvc/config.local").write_text(f"['remote \"store\"']\n    {remote}\n", "utf-8")
    repo = Repo()
    place = Place(copies.copy(repo))
    assert copies.run(repo, NAME, {"seed": 7}, lambda line: None, place).error == ""
    assert "Größe" in (place.directory / ".dvc/config.local").read_text("utf-8")
    require_same(fetching, "Modell für uns")


def test_a_copy_never_evaluates_the_policy_of_the_project(another: Path) -> None:
    place = another / copies.COPIES / "0"
    for name in ("params.yaml", "stages", "preference", "data/prepared", "models/base"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(another / name)
    done = project.run(place, "python", "-m", "stages.final_eval", "--reference", "models/base")
    assert done.returncode == 1
    assert done.stderr == "error: models/policy: no such file or directory; run dvc repro\n"
