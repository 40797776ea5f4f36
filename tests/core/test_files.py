"""Outputs that are whole or absent."""

import os
from pathlib import Path

import pytest

from preference.core.files import replacing


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def directory_with(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "out.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert names(target.parent) == ["out.txt"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


def fail_half_way(target: Path, error: type[BaseException], directory: bool = False) -> None:
    with replacing(target) as temporary:
        if directory:
            directory_with(temporary, some="half")
        else:
            temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(error):
        fail_half_way(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "out.txt", RuntimeError)
    assert names(tmp_path) == []


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = directory_with(tmp_path / "out", kept="old", dropped="old")
    with replacing(target) as temporary:
        directory_with(temporary, kept="new", added="new")
        assert (target / "kept").read_text() == "old"
    assert names(target) == ["added", "kept"]
    assert (target / "kept").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_a_directory_appears_where_nothing_was(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "out"
    with replacing(target) as temporary:
        directory_with(temporary, some="new")
    assert (target / "some").read_text() == "new"
    assert names(target.parent) == ["out"]


def test_a_failure_leaves_the_old_directory(tmp_path: Path) -> None:
    target = directory_with(tmp_path / "out", some="old")
    with pytest.raises(RuntimeError):
        fail_half_way(target, RuntimeError, directory=True)
    assert names(tmp_path) == ["out"]
    assert (target / "some").read_text() == "old"


def test_a_body_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def test_a_file_does_not_replace_a_directory(tmp_path: Path) -> None:
    target = directory_with(tmp_path / "out", some="old")
    with pytest.raises(IsADirectoryError), replacing(target) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["out"]
    assert (target / "some").read_text() == "old"


def test_a_signal_between_the_two_moves_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model").write_text("earlier")
    rename = os.rename

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if source == out:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(out) as temporary:
        temporary.mkdir()
    assert (out / "model").read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
