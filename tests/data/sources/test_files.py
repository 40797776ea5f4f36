"""Preference data from files: what is read, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from data_helpers import Rows
from source_helpers import (
    GOOD,
    ROWS,
    as_jsonl,
    read,
    refused,
    write_gzip,
    write_jsonl,
    write_parquet,
)

from preference.data.sources import arrow, files, registry

Write = Callable[[Path, Rows], Path]
every_format = pytest.mark.parametrize("write", [write_jsonl, write_gzip, write_parquet])


@every_format
def test_each_format_gives_the_same_rows(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "train", ROWS)
    assert read(tmp_path) == ROWS


@every_format
def test_rows_of_many_batches_keep_their_order(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BATCH_ROWS", 3)
    monkeypatch.setattr(arrow, "BATCH_ROWS", 4)
    rows = [(f"chosen {number}", f"rejected {number}") for number in range(10)]
    write(tmp_path / "train", rows)
    assert read(tmp_path) == rows


def test_a_directory_a_pattern_and_a_list_give_the_same_rows(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train", ROWS)
    write_jsonl(tmp_path / "test", ROWS[:1])
    files = [str(tmp_path / "t*n.jsonl"), str(tmp_path / "test.jsonl")]
    for source in (tmp_path, str(tmp_path / "*.jsonl"), files):
        assert read(source, "train") == ROWS
        assert read(source, "test") == ROWS[:1]


def test_a_relative_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own" / "pairs").mkdir(parents=True)
    write_jsonl(tmp_path / "own" / "pairs" / "train", ROWS)
    monkeypatch.chdir(tmp_path)
    assert read("own/pairs") == read("own") == read("**/*.jsonl") == ROWS


def test_files_are_read_in_sorted_order(tmp_path: Path) -> None:
    order = (5, 2, 0, 7, 3, 1, 6, 4)
    for number in order:
        write_jsonl(tmp_path / f"train-{number}-of-8", [(str(number), "x")])
    expected = [(str(number), "x") for number in sorted(order)]
    assert read(tmp_path) == expected
    assert read([str(tmp_path / f"train-{number}-*") for number in order]) == expected


def test_a_file_that_two_patterns_name_is_read_once(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train", ROWS)
    assert read([str(path), str(tmp_path / "*.jsonl")]) == ROWS


def test_nested_directories_are_read(tmp_path: Path) -> None:
    for directory in ("b", "a/deep"):
        (tmp_path / directory).mkdir(parents=True)
        write_gzip(tmp_path / directory / "train", [(directory, "x")])
    assert read(tmp_path) == [("a/deep", "x"), ("b", "x")]


@pytest.mark.parametrize(
    "name", ["train", "my_train", "train-00000-of-00001", "harmless.train.v2", "TRAIN", "1train2"]
)
def test_the_split_is_a_word_of_the_file_name(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.jsonl").write_bytes(as_jsonl(ROWS))
    (tmp_path / "latest-test.jsonl").write_bytes(as_jsonl(ROWS[:1]))
    for other in ("training-testing", "retrain", "contest"):
        (tmp_path / f"{other}.jsonl").write_bytes(b"not read")
    assert read(tmp_path, "train") == ROWS
    assert read(tmp_path, "test") == ROWS[:1]


def test_a_directory_may_name_the_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.jsonl").write_bytes(GOOD * (2 if split == "train" else 1))
    assert len(read(tmp_path, "train")) == 2
    assert len(read(tmp_path, "test")) == 1


def test_other_files_in_the_directory_are_not_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train", ROWS)
    (tmp_path / "train.txt").write_text("notes")
    (tmp_path / "README.md").write_text("train and test")
    assert read(tmp_path) == ROWS


LEFT_BESIDE = (
    ".ipynb_checkpoints/train-checkpoint.jsonl",
    ".cache/deep/train.jsonl",
    ".train.jsonl",
    "__MACOSX/train/0.jsonl",
    "deep/__MACOSX/._train.jsonl",
    "~train.jsonl",
    "old~/train.jsonl",
    "train.jsonl~",
    "train.jsonl.lock",
)


@pytest.mark.parametrize("name", LEFT_BESIDE)
def test_what_programs_leave_beside_data_is_read_only_if_it_is_named(
    tmp_path: Path, name: str
) -> None:
    # Where the directory itself lies, is no matter.
    place = tmp_path / ".mine~"
    (place / name).parent.mkdir(parents=True)
    (place / name).write_bytes(GOOD)
    assert "no train file" in refused(place) or "names no file" in refused(place)
    write_jsonl(place / "train", ROWS)
    assert read(place) == ROWS
    if name.endswith(".jsonl"):
        assert read(str(place / name)) == [("a", "b")]


def test_a_pattern_reads_what_it_names(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints/train-checkpoint.jsonl").write_bytes(GOOD)
    assert read(str(tmp_path / ".ipynb_checkpoints/*.jsonl")) == [("a", "b")]


def test_a_copy_for_experiments_reads_what_the_project_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    copy = project / ".dvc/tmp/sweep"
    for directory, text in (
        (tmp_path / "mine", "beside"),
        (project / "b", "not in git"),
        (project / "c", "in git"),
        (copy / "c", "in git"),
    ):
        directory.mkdir(parents=True)
        write_jsonl(directory / "train-1", [(text, "x")])
    # What the project alone has, it has in part: all of it is read there, and once.
    (copy / "b").mkdir()
    write_jsonl(copy / "b/train-1", [("not in git", "x")])
    write_jsonl(project / "b/train-0", [("not in git either", "x")])
    source = ["c", "b/train-1.jsonl", "b", "../mine/*.jsonl"]
    expected = [(text, "x") for text in ("beside", "not in git either", "not in git", "in git")]
    for place in (project, copy):
        monkeypatch.chdir(place)
        assert read(source) == expected
    # What the copy has stays what it was when the experiment was asked for.
    write_jsonl(project / "c/train-1", [("changed", "x")])
    assert read("c") == [("in git", "x")]


@every_format
def test_a_source_without_a_split_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "test", ROWS)
    message = refused(tmp_path)
    assert "data.source" in message
    assert "no train file" in message
    assert f"found: {path.name}" in message
    assert "train.jsonl.gz, train/0.parquet" in message


def test_two_formats_at_once_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train", ROWS)
    write_parquet(tmp_path / "train", ROWS)
    message = refused(tmp_path)
    assert "data.source" in message
    assert "train split comes as .jsonl and as .parquet" in message
    assert "name one kind with a pattern" in message
    assert read(str(tmp_path / "*.parquet")) == ROWS


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("chosen,rejected\n")
    kinds = ", ".join(files.SUFFIXES)
    assert refused(str(path)) == f"{path}: expected a file ending in {kinds}"
    assert set(files.SUFFIXES) >= {".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet", ".arrow"}


def test_a_directory_without_data_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path)
    assert "data.source" in message
    assert "names no file" in message


@pytest.mark.parametrize("name", ["none.jsonl", "none/train.parquet", "*.jsonl", "**/*.gz", "none"])
def test_a_path_or_pattern_without_file_is_refused(tmp_path: Path, name: str) -> None:
    message = refused(str(tmp_path / name))
    assert "params.yaml: data.source" in message
    assert "names no file" in message
    assert ", ".join(files.SUFFIXES) in message


def test_each_pattern_of_a_list_must_name_a_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train", ROWS)
    message = refused([str(path), str(tmp_path / "more*.jsonl")])
    assert "more*.jsonl' names no file" in message


def test_an_empty_list_is_refused() -> None:
    assert "params.yaml: data.source" in refused([])
