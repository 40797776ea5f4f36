"""Progress bars where nobody watches live, as in tests and in logs."""

import pytest

from preference.core.progress import bar


def test_what_was_done_before_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("score", 4, "pairs", done=1) as progress:
        progress.update(3)
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith("score: 100%")
    assert "4/4 [" in last
    assert " pairs/s]" in last


def test_without_a_total_it_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("fetch", None, "rows") as progress:
        progress.update(7)
    assert "fetch: 7 rows [" in capsys.readouterr().err


def test_it_is_seldom_redrawn(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("train", 10_000, "pairs") as progress:
        for _ in range(10_000):
            progress.update()
    # The first one and the last one, on a machine that is not slowed down for seconds.
    assert capsys.readouterr().err.count("train:") <= 3


def test_of_several_processes_the_first_one_tells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with bar("train", 2, "pairs") as progress:
        progress.update(2)
    assert capsys.readouterr().err == ""
