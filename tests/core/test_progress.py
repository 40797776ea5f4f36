"""Progress bars where nobody watches live, as in tests and in logs."""

import sys

import pytest

from preference.core.progress import bar


def test_what_was_done_before_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("score", 4, "pairs", done=1) as progress:
        progress.update(3)
    last = capsys.readouterr().err.splitlines()[-1]
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


def test_a_log_has_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    # One below the other, as the evaluation during a training.
    with bar("train", 2, "pairs") as outer:
        outer.update()
        outer.set_postfix(loss="0.5", refresh=False)
        with bar("train: test", 3, "pairs") as inner, bar("rows", None, "rows"):
            inner.update(3)
        outer.update()
    written = capsys.readouterr().err
    assert not {"\r", "\x1b"} & set(written)
    assert written.endswith("\n")
    told = [line.partition(" [")[0] for line in written.splitlines()]
    assert told == [
        "train:   0% 0/2",
        "train: test:   0% 0/3",
        "rows: 0 rows",
        "rows: 0 rows",
        "train: test: 100% 3/3",
        "train: 100% 2/2",
    ]
    assert written.splitlines()[-1].endswith("pairs/s, loss=0.5]")


def test_a_terminal_has_one_line_that_moves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with bar("train", 2, "pairs") as progress:
        progress.update(2)
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.startswith("\rtrain:   0%|")


def test_of_several_processes_the_first_one_tells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with bar("train", 2, "pairs") as progress:
        progress.update(2)
    assert capsys.readouterr().err == ""
