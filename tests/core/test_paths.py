"""Names of files: where those of params are, and which of those from outside lead out."""

import glob
from pathlib import Path

import pytest

from preference.core.paths import leads_out, located, named, project, texts


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret",
        "data/../../secret",
        "~/secret",
        "~someone/secret",
        "https://elsewhere.org/file",
        "zip://file::archive.zip",
        "C:\\secret",
        "C:secret",
        "..\\secret",
        "\\\\host\\share\\secret",
    ],
)
def test_these_lead_out(name: str) -> None:
    assert leads_out(name)


@pytest.mark.parametrize("name", ["file", "data/part-*.jsonl.gz", ".hidden", "a..b/~c", ""])
def test_these_stay_inside(name: str) -> None:
    assert not leads_out(name)


def test_texts_are_found_at_any_depth_and_keys_are_none() -> None:
    value = {"key": ["a", {"path": "b", "more": [["c"], None, 1]}], "last": "d"}
    assert list(texts(value)) == ["a", "b", "c", "d"]
    assert list(texts(None)) == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project: `tracked` has what its copies have, `mixed` more, `own` is the project's alone."""
    root = tmp_path / "[a] project"
    for file in ("tracked/1.jsonl", "mixed/1.jsonl", "mixed/2.jsonl", "own/1.jsonl"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / "tracked/.ipynb_checkpoints").mkdir()
    (root / "tracked/.ipynb_checkpoints/1.jsonl").touch()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/1.jsonl").touch()
    return root


def copy(root: Path, place: str) -> Path:
    """A copy of a project, as far as git tracks it."""
    inside = root / ".dvc/tmp" / place
    for file in ("tracked/1.jsonl", "mixed/1.jsonl", "made/1.jsonl"):
        (inside / file).parent.mkdir(parents=True, exist_ok=True)
        (inside / file).touch()
    (inside / "own").symlink_to("../elsewhere")
    return inside


@pytest.mark.parametrize(
    "place", ["exps/standalone/tmp1", "exps/tmp1", "sweep", "exps/tmp1/.dvc/tmp/sweep"]
)
def test_in_a_copy_the_project_has_what_the_copy_lacks(
    root: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(copy(root, place))
    assert project() == root
    for name in ("tracked", "tracked/1.jsonl", "tracked/*.jsonl", "./tracked", "made", "none"):
        assert located(name) == Path(name), name
    for name in ("mixed", "own", "own/../own", "own/1.jsonl", "../beside", "mixed/../../beside"):
        assert located(name) == root / name, name
        assert named(located(name)) == Path(name)
    assert located("..") == root / ".."
    for name in ("mixed/*", "own/*", "../besid*/*", "[mo]*/1.jsonl"):
        found = [Path(file) for file in glob.glob(str(located(name)))]
        assert found, name
        assert {named(file) for file in found} == {
            Path(file) for file in glob.glob(name, root_dir=root)
        }
    assert located(str(root / "own")) == root / "own"
    assert located("~/own") == Path.home() / "own"


@pytest.mark.parametrize("place", [".", "own", ".dvc/tmp", ".dvc/tmp/other", "tmp/sweep"])
def test_elsewhere_paths_are_as_they_are(
    root: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (root / place).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(root / place)
    assert project() == root / place
    for name in ("own", "../beside", "*.jsonl", str(root / "own")):
        assert located(name) == named(Path(name)) == Path(name)


def test_a_part_of_a_repository_is_the_same_part_of_the_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".dvc/tmp/exps/tmp1/part").mkdir(parents=True)
    monkeypatch.chdir(root / ".dvc/tmp/exps/tmp1/part")
    assert located("../beside") == root / "../beside"
