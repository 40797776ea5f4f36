"""Git as the tools ask it: its answer, or its words with what to do."""

from pathlib import Path

import project
import pytest

from preference.core.errors import InputError
from tools.git import git


def test_its_answer_in_a_directory(tmp_path: Path) -> None:
    project.git(tmp_path, "init", "-q")
    assert git("rev-parse", "--is-inside-work-tree", directory=tmp_path) == "true\n"


def test_its_refusal_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"git log: fatal: not a git repository.*clone the project"
    ):
        git("log", directory=tmp_path)


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"git status: .*No such file or directory: 'git'"):
        git("status")
