"""Experiments in a copy: what it has, what they begin with, what comes back."""

import json
from pathlib import Path

import project
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from preference.core.errors import InputError
from tools.sweep import copies
from tools.sweep.follow import Outcome, Place, follow

NAME = "sweep-beta-5"
SETTINGS = {"train.beta": 5.0}
STAGES = ["words", "train", "eval"]


def experiment(name: str = NAME) -> Outcome:
    """Copy the project, and run an experiment in the copy."""
    repo = Repo()
    place = Place(copies.copy(repo))
    return copies.run(repo, name, SETTINGS, lambda line: None, place)


def refs(place: Path) -> list[str]:
    return project.git(place, "for-each-ref", "--format=%(refname)", "refs/exps").split()


def state(place: Path) -> str:
    """What git says of the working directory, of the commits and of what is put aside."""
    status = project.git(place, "status", "--porcelain", "--branch", "--untracked-files=all")
    return "\n".join(
        [status, *(project.git(place, *c) for c in (["diff", "HEAD"], ["stash", "list"]))]
    )


@pytest.fixture
def ran(tiny: Path) -> Path:
    """The pipeline has run; what it wrote is not in git yet."""
    assert follow(["repro"], lambda line: None).error == ""
    return tiny


def test_an_experiment_leaves_the_working_directory_as_it_is(ran: Path) -> None:
    # Changes, staged and not.
    with (ran / ".dvcignore").open("a") as file:
        file.write("# staged\n")
    project.git(ran, "add", ".dvcignore")
    with (ran / ".gitignore").open("a") as file:
        file.write("# not staged\n")
    before = state(ran)
    outcome = experiment()
    assert outcome.error == ""
    assert (outcome.ran, outcome.reused) == ({"train": 1.5, "eval": 0.0}, ["words"])
    assert outcome.metrics == {"final": {"pair_acc": 0.5}}
    assert state(ran) == before

    head = project.git(ran, "rev-parse", "HEAD").strip()
    assert refs(ran) == [f"refs/exps/{head[:2]}/{head[2:]}/{NAME}"]
    listed = project.run(ran, "dvc", "exp", "list", "--name-only")
    assert listed.stdout.split() == [NAME]
    kept = f"{refs(ran)[0]}:results/metrics/final.json"
    assert json.loads(project.git(ran, "show", kept)) == {"pair_acc": 0.5}
    # The param's line alone is another one.
    params = project.git(ran, "diff", "--unified=0", "HEAD", refs(ran)[0], "--", "params.yaml")
    assert [line for line in params.splitlines()[4:] if line[0] in "+-"] == [
        "-  beta: 3.0  # larger than usual",
        "+  beta: 5.0  # larger than usual",
    ]
    project.git(ran, "add", "--all")
    project.git(ran, "commit", "-qm", "finished")
    applied = project.run(ran, "dvc", "exp", "apply", NAME)
    assert applied.returncode == 0, applied.stderr
    assert json.loads((ran / "policy.json").read_text()) == {"pair_acc": 0.5}


def test_what_is_there_is_not_run_again(ran: Path) -> None:
    first = experiment()
    again = experiment()
    assert (again.ran, again.reused, again.metrics) == ({}, STAGES, first.metrics)
    # On top of another commit, whose experiments are others.
    project.git(ran, "add", "--all")
    project.git(ran, "commit", "-qm", "finished")
    assert experiment().ran == {}
    assert len(refs(ran)) == 2
    # Only what it came to is taken over, and only what still fits.
    (ran / "words.txt").write_text("other words")
    follow(["repro"], lambda line: None)
    last = experiment()
    assert (last.ran, last.reused) == ({"train": 1.5}, ["words", "eval"])


def test_somebody_elses_experiment_of_that_name_harms_nothing(ran: Path) -> None:
    # It knows nothing of the stages.
    project.git(ran, "update-ref", f"refs/exps/aa/{'a' * 38}/{NAME}", "HEAD")
    own = f"refs/exps/bb/{'b' * 38}/mine"
    project.git(ran, "update-ref", own, "HEAD")
    commit = project.git(ran, "rev-parse", own)
    assert experiment().ran == {"train": 1.5, "eval": 0.0}
    assert project.git(ran, "rev-parse", own) == commit


def test_a_failure_is_no_experiment_and_leaves_the_next(ran: Path) -> None:
    good = (ran / "train.py").read_text()
    (ran / "train.py").write_text(good.replace("place = ", "assert beta < 4, 'large'\nplace = "))
    follow(["repro"], lambda line: None)
    repo = Repo()
    place = Place(copies.copy(repo))
    failed = copies.run(repo, NAME, SETTINGS, lambda line: None, place)
    assert "'train'" in failed.error
    assert refs(ran) == []
    beta = {"train.beta": 2.0}
    next_one = copies.run(repo, "sweep-beta-2", beta, lambda line: None, place)
    assert next_one.metrics == {"final": {"pair_acc": 0.2}}


def test_the_copy_has_what_the_project_has_and_earlier_checkpoints(ran: Path) -> None:
    (ran / "words.txt").write_text("changed")
    (ran / ".dvcignore").unlink()
    (ran / "notes.txt").write_text("of the user's own")
    place = copies.COPIES / "0"
    kept = place / copies.KEPT / "train/000000700"
    kept.mkdir(parents=True)
    (place / "left.txt").touch()
    assert copies.copy(Repo()) == place
    assert (place / "words.txt").read_text() == "changed"
    # dvc.lock and results are new to git, and DVC names them.
    assert (place / "dvc.lock").read_bytes() == (ran / "dvc.lock").read_bytes()
    assert (place / "results/metrics/final.json").exists()
    for name in (".dvcignore", "notes.txt", "left.txt", "policy.json"):
        assert not (place / name).exists(), name
    assert kept.is_dir()
    head = project.git(ran, "rev-parse", "HEAD")
    assert project.git(place, "rev-parse", "HEAD") == head


@pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "gamma": 1.0}])
def test_options_take_the_place_of_others(options: dict[str, float], tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train:\n  beta: 1.0\n  options: {gamma: 2.0, other: 1}\n")
    asked = {"train.beta": 0.5, "train.options": options}
    apply_overrides(file, list(copies.overrides(asked)))
    assert YAML(typ="safe").load(file)["train"] == {"beta": 0.5, "options": options}


def test_experiments_are_the_users_or_the_sweeps(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment()
    author = ("log", "-1", "--format=%an", refs(ran)[0])
    assert project.git(ran, *author).strip() == "test"
    for key in ("user.name", "user.email"):
        project.git(ran, "config", "--unset", key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (ran / "words.txt").write_text("changed")
    assert experiment().error == ""
    assert project.git(ran, *author).strip() == "sweep"


def test_stages_that_depend_on_params(tiny: Path) -> None:
    def depending(*params: str) -> set[str]:
        return {stage.name for stage in copies.depending(Repo(), params)}

    assert depending("train.beta") == {"train", "eval"}
    assert depending("train") == {"train", "eval"}
    assert depending("training", "seed") == set()


def test_stages_of_the_pipeline_that_depend_on_params() -> None:
    repo = Repo(str(project.ROOT))

    def depending(*params: str) -> list[str]:
        names = {stage.name for stage in copies.depending(repo, params)}
        return [name for name in project.STAGE_NAMES if name in names]

    assert depending("train.beta") == ["train", "final-eval", "samples", "report"]
    assert depending("report.decimals") == ["report"]
    assert depending("runtime.device") == []
    # What reads a part of a directory follows from it.
    assert depending("model.scratch.n_layer") == project.STAGE_NAMES[1:]


def test_experiments_need_a_repository_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="git log: fatal: not a git repository"):
        copies.require_repository()
    project.git(tmp_path, "init", "-q")
    with pytest.raises(InputError, match="does not have any commits yet"):
        copies.require_repository()
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    project.git(tmp_path, *identity, "commit", "-q", "--allow-empty", "-m", "empty")
    copies.require_repository()
    (tmp_path / "within").mkdir()
    monkeypatch.chdir("within")
    with pytest.raises(InputError, match="of their own; this is within/ of one"):
        copies.require_repository()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"git log: .*No such file"):
        copies.require_repository()
