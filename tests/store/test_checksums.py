"""Digests that stand beside files: what differs from them is named."""

import json
from pathlib import Path

import pytest

from preference.core.errors import InputError
from preference.store import checksums

# Of "abc", from FIPS 180-2, and of nothing.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_text("abc")
    (tmp_path / "config").touch()
    checksums.seal(tmp_path)
    return tmp_path


def test_the_record_holds_all_files_but_itself(model: Path) -> None:
    expected = {"config": NOTHING, "deep/weights": ABC}
    assert json.loads((model / checksums.NAME).read_text()) == expected
    # Sealed again, it is the same.
    assert checksums.of_directory(model) == expected


def test_what_is_as_it_was_or_was_never_sealed_passes(model: Path) -> None:
    for sealed in (True, False):
        assert (model / checksums.NAME).exists() == sealed
        checksums.require_undamaged(model)
        (model / checksums.NAME).unlink(missing_ok=True)


def test_changed_missing_and_later_files_differ(model: Path) -> None:
    (model / "deep" / "weights").write_text("abd")
    (model / "config").unlink()
    (model / "later").touch()
    assert checksums.differing(model) == ["config", "deep/weights", "later"]
    assert checksums.differing(model, ["deep/weights", "nowhere"]) == ["deep/weights"]
    with pytest.raises(InputError, match=f"{model}/config: not what checksums.json .*check-cache"):
        checksums.require_undamaged(model)


def test_only_the_files_that_matter_are_looked_at(model: Path) -> None:
    (model / "config").write_text("changed")
    checksums.require_undamaged(model, ["deep/weights"])
    with pytest.raises(InputError, match="config: not what"):
        checksums.require_undamaged(model, ["config"])


@pytest.mark.parametrize("content", [b"", b"{", b"3", b"[1]", b"\xff"])
def test_an_unreadable_record_is_itself_what_differs(model: Path, content: bytes) -> None:
    (model / checksums.NAME).write_bytes(content)
    assert checksums.differing(model) == [checksums.NAME]
