"""Outputs that are whole or absent."""

import json
import math
import os
from pathlib import Path

import pytest

from preference.core.files import replacing
from preference.store.text import write_json, write_text


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
    with pytest.raises(IsADirectoryError):
        write_text(target, "new")
    assert names(tmp_path) == ["out"]
    assert (target / "some").read_text() == "old"


def test_json_keeps_order_and_types(tmp_path: Path) -> None:
    values = {"pairs": 3, "margin": 0.1, "device": "cpu", "done": True, "nothing": None}
    path = tmp_path / "metrics.json"
    write_json(path, values)
    assert path.read_text() == (
        '{\n  "pairs": 3,\n  "margin": 0.1,\n  "device": "cpu",\n  "done": true,\n'
        '  "nothing": null\n}\n'
    )


def test_json_has_null_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"margin_low": math.nan, "margin": 1.5})
    assert json.loads(path.read_text()) == {"margin_low": None, "margin": 1.5}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"pairs": 1})
    with pytest.raises(TypeError):
        write_json(path, {"pairs": object()})
    assert json.loads(path.read_text()) == {"pairs": 1}
    assert names(tmp_path) == ["metrics.json"]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "table.md", "Größe ≥ 1\n")
    assert (tmp_path / "table.md").read_bytes() == "Größe ≥ 1\n".encode()


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
