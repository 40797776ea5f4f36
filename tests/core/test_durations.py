"""How long stages took, as noted: only what is readable counts, and nothing depends on it."""

from pathlib import Path

import pytest

from preference.core import durations


def test_durations_are_kept_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert durations.known() == {}
    durations.record("train", 12.345)
    durations.record("report", 1)
    durations.record("train", 10)
    assert durations.known() == {"report": 1.0, "train": 10.0}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"train": "long", "report": -1}'])
def test_damaged_durations_are_not_known(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    durations.FILE.parent.mkdir()
    durations.FILE.write_text(content)
    assert durations.known() == {}
    durations.record("train", 1.0)
    assert durations.known() == {"train": 1.0}


def test_durations_that_cannot_be_written_fail_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".checkpoints").touch()
    durations.record("train", 1.0)
    assert durations.known() == {}
