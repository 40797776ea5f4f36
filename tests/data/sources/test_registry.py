"""Preference data from files and from the Hub: what is read, and what is refused."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Rows, patient, run_stage, write_params, write_raw
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from preference.core.errors import InputError
from preference.core.params import Data, Demo
from preference.data.sources import registry
from preference.store.tables import RAW

Write = Callable[[Path, Rows], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = [("Why? Yes.", "Why? No."), ("é \u2028 🙂", "tab\tand\r\nlines\u2029\x85"), ("", " ")]
GOOD = b'{"chosen": "a", "rejected": "b"}\n'


def data(source: Path | str | list[str], revision: str | None = None) -> Data:
    source = str(source) if isinstance(source, Path) else source
    return Data(
        source=source,
        revision=revision,
        train_pairs=1,
        eval_pairs=1,
        max_length=8,
        demo=Demo(),
    )


def read(source: Path | str | list[str], part: str = "train") -> Rows:
    batches = list(registry.batches(data(source), part))
    assert all(batch.schema == RAW for batch in batches)
    return [(row["chosen"], row["rejected"]) for batch in batches for row in batch.to_pylist()]


def refused(source: Path | str | list[str], part: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        read(source, part)
    return str(caught.value)


def as_jsonl(rows: Rows, ascii_only: bool = False) -> bytes:
    records = [dict(zip(RAW.names, row, strict=True)) for row in rows]
    lines = [json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records]
    return "".join(lines).encode()


def write_jsonl(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_bytes(as_jsonl(rows))
    return path


def write_gzip(path: Path, rows: Rows) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress(as_jsonl(rows)))
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    return write_raw(path.with_suffix(".parquet"), rows)


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
    rows = [(f"chosen {number}", f"rejected {number}") for number in range(10)]
    write(tmp_path / "train", rows)
    assert read(tmp_path) == rows


@patient
@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.booleans())
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "train.jsonl"
    path.write_bytes(as_jsonl(rows, ascii_only))
    assert read(path) == rows


def test_other_columns_and_another_order_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": 1, "rejected": "b", "chosen": "a"}\n')
    table = pa.table({"id": [1], "rejected": ["b"], "chosen": ["a"]})
    pq.write_table(table, tmp_path / "test.parquet")
    assert read(tmp_path, "train") == read(tmp_path, "test") == [("a", "b")]


def test_parquet_with_large_strings_is_read(tmp_path: Path) -> None:
    column = pa.array(["a"], pa.large_string())
    pq.write_table(pa.table({"chosen": column, "rejected": column}), tmp_path / "train.parquet")
    assert read(tmp_path) == [("a", "a")]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\n" + GOOD + b"\n  \r\n" + GOOD + b"\n\n")
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD.replace(b"\n", b"\r\n") * 2)
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


def test_a_last_line_without_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD + GOOD.strip())
    assert read(tmp_path) == [("a", "b"), ("a", "b")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_unicode_line_separators_end_no_row(tmp_path: Path, separator: str) -> None:
    rows = [(f"a{separator}b", f"{separator}c")]
    write_jsonl(tmp_path / "train", rows)
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


def test_other_files_in_the_directory_are_not_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train", ROWS)
    (tmp_path / "train.txt").write_text("notes")
    (tmp_path / "README.md").write_text("train and test")
    assert read(tmp_path) == ROWS


def test_the_demo_gives_the_rows_asked_for() -> None:
    assert sum(batch.num_rows for batch in registry.batches(data("demo"), "test")) == 2_000


BAD_LINES = {
    "cut short": (b'{"chosen": "a"', "not JSON"),
    "no JSON": (b"chosen: a", "not JSON"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "too long a number": (b'{"chosen": ' + b"1" * 5_000 + b', "rejected": "b"}', "not JSON"),
    "list": (b'["a", "b"]', "expected an object with the keys chosen and rejected"),
    "text": (b'"a"', "expected an object with the keys chosen and rejected"),
    "one column": (b'{"chosen": "a"}', "no column 'rejected' (it has chosen)"),
    "no column": (b"{}", "no column 'chosen' (it has none)"),
    "null": (b'{"chosen": "a", "rejected": null}', "'rejected' must be text, but is null"),
    "number": (b'{"chosen": 7, "rejected": "b"}', "'chosen' must be text, but is 7"),
    "turns": (b'{"chosen": ["a"], "rejected": "b"}', "'chosen' must be text, but is [\"a\"]"),
    "not UTF-8": (b'{"chosen": "a", "rejected": "\xff"}', "not UTF-8"),
}


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_a_bad_line_is_named(tmp_path: Path, name: str, bad: str) -> None:
    line, problem = BAD_LINES[bad]
    content = GOOD + b"\n" + line + b"\n" + GOOD
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, line 3: ")
    assert problem in message


@pytest.mark.parametrize("bad", ["cut short", "too long a number", "not UTF-8"])
def test_a_damaged_line_comes_with_what_to_do(tmp_path: Path, bad: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(BAD_LINES[bad][0])
    assert "mend or remove the line" in refused(tmp_path)


def test_a_long_value_is_not_printed_whole(tmp_path: Path) -> None:
    record = {"chosen": list(range(10_000)), "rejected": "b"}
    (tmp_path / "train.jsonl").write_text(json.dumps(record))
    assert len(refused(tmp_path)) < 500


@pytest.mark.parametrize("bad", ['"\\ud83d", "rejected": "b"', '"a", "rejected": "\\ude00"'])
def test_half_of_a_surrogate_pair_is_named_by_its_line(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD * 5 + f'{{"chosen": {bad}}}\n'.encode() + GOOD)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, line 6: ")
    assert "surrogate" in message
    assert "mend or remove the line" in message


def long_gzip() -> bytes:
    numbers = random.Random(0)
    return gzip.compress(as_jsonl([(str(numbers.random()), "b") for _ in range(2_000)]))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(long_gzip()[:-100])
    message = refused(tmp_path)
    assert message.startswith(f"{path}, after line ")
    assert "fetch the file again" in message


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    content = bytearray(long_gzip())
    content[300:340] = b"\xff" * 40
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, after line ")
    assert "fetch the file again" in message


def test_what_is_named_gzip_and_is_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(GOOD)
    message = refused(tmp_path)
    assert message.startswith(str(path))
    assert "Not a gzipped file" in message
    assert "fetch the file again" in message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet, but long enough to hold a footer"])
def test_broken_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(content)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: not readable as Parquet")
    assert "fetch the file again" in message


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train", ROWS * 100)
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(tmp_path).startswith(f"{path}: not readable as Parquet")


def test_parquet_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "answer": ["b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: no column 'rejected' (it has chosen, answer)")
    assert "each row needs chosen and rejected" in message


def test_parquet_with_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"chosen": ["a"], "rejected": [1]}), path)
    assert refused(tmp_path).startswith(f"{path}: column 'rejected' must be text, but is int64")


def test_parquet_with_null_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BATCH_ROWS", 2)
    path = tmp_path / "train.parquet"
    table = pa.table({"chosen": list("abcde"), "rejected": ["a", "b", "c", None, "e"]})
    pq.write_table(table, path)
    assert refused(tmp_path) == f"{path}, row 3: column 'rejected' must be text, but is null"


def test_parquet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    bad = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"chosen": bad, "rejected": ["a", "b"]}), path)
    message = refused(tmp_path)
    assert message.startswith(f"{path}, row 1: column 'chosen'")
    assert "UTF-8" in message


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
    path = tmp_path / "train.csv"
    path.write_text("chosen,rejected\n")
    assert refused(str(path)) == f"{path}: expected a file ending in .jsonl, .jsonl.gz, .parquet"


def test_a_directory_without_data_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path)
    assert "data.source" in message
    assert "names no file" in message


@pytest.mark.parametrize("name", ["none.jsonl", "none/train.parquet", "*.jsonl", "**/*.gz", "none"])
def test_a_path_or_pattern_without_file_is_refused(tmp_path: Path, name: str) -> None:
    message = refused(str(tmp_path / name))
    assert "params.yaml: data.source" in message
    assert "names no file" in message
    assert ".jsonl, .jsonl.gz, .parquet" in message


def test_each_pattern_of_a_list_must_name_a_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train", ROWS)
    message = refused([str(path), str(tmp_path / "more*.jsonl")])
    assert "more*.jsonl' names no file" in message


def test_an_empty_list_is_refused() -> None:
    assert "params.yaml: data.source" in refused([])


@pytest.mark.parametrize("name", ["data/none", "none", "someone/pairs"])
def test_what_may_be_a_hub_id_must_be_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    message = refused(name)
    assert f"params.yaml: data.source: '{name}' is no file or directory here" in message
    assert "data.revision must pin it to a commit" in message
    assert "check the spelling" in message


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:-1], COMMIT.upper(), f"{COMMIT}0"])
def test_a_revision_that_is_no_commit_is_refused(revision: str) -> None:
    with pytest.raises(InputError, match=r"data\.revision must pin it to a commit of 40 hex") as e:
        list(registry.batches(data("someone/pairs", revision), "train"))
    assert repr(revision) in str(e.value)


def test_what_can_be_no_hub_id_is_no_file_either() -> None:
    assert "no such file or directory" in refused("some one's pairs")


def test_without_network_a_hub_dataset_leaves_the_earlier_data(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.source": "someone/pairs", "data.revision": COMMIT}
    write_params(tmp_path / "params.yaml", changes)
    earlier = write_raw(tmp_path / "data" / "raw" / "train.parquet", ROWS)
    before = earlier.read_bytes()
    done = run_stage("fetch_data", tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"error: Hub dataset someone/pairs at {COMMIT}, train: cannot be fetched" in done.stderr
    assert "download the files and set data.source to their directory" in done.stderr
    assert earlier.read_bytes() == before
    assert list(tmp_path.glob("data/*")) == [earlier.parent]
    assert list(earlier.parent.iterdir()) == [earlier]


def test_the_stage_writes_both_splits(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_gzip(tmp_path / "own" / "train", ROWS)
    write_gzip(tmp_path / "own" / "test", ROWS[:1])
    write_params(tmp_path / "params.yaml", {"data.source": "own"})
    done = run_stage("fetch_data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert read(str(tmp_path / "data/raw/*"), "train") == ROWS
    assert read(str(tmp_path / "data/raw/*"), "test") == ROWS[:1]


def test_the_stage_refuses_a_split_without_rows(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_jsonl(tmp_path / "own" / "train", ROWS)
    write_jsonl(tmp_path / "own" / "test", [])
    write_params(tmp_path / "params.yaml", {"data.source": "own"})
    done = run_stage("fetch_data", tmp_path)
    assert done.returncode == 1
    assert "error: params.yaml: data.source: 'own': test has no rows" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("data/*")) == []


def test_rows_of_a_hub_dataset_come_as_they_are() -> None:
    texts = [f"{i} \u2028" for i in range(25)]
    dataset = Dataset.from_dict({"other": range(25), "rejected": texts[::-1], "chosen": texts})
    batches = list(registry._read_dataset(dataset, "a dataset"))
    assert all(batch.schema == RAW for batch in batches)
    found = [row["chosen"] for batch in batches for row in batch.to_pylist()]
    assert found == texts


def test_a_hub_dataset_with_a_null_is_refused() -> None:
    dataset = Dataset.from_dict({"chosen": ["a", "b", None], "rejected": ["c", "d", "e"]})
    with pytest.raises(InputError, match=r"a dataset, row 2: column 'chosen' must be text"):
        list(registry._read_dataset(dataset, "a dataset"))


def test_a_hub_dataset_without_a_column_is_refused() -> None:
    dataset = Dataset.from_dict({"chosen": ["a"], "prompt": ["c"]})
    with pytest.raises(InputError, match=r"a dataset: no column 'rejected' .*chosen, prompt"):
        list(registry._read_dataset(dataset, "a dataset"))


def test_a_directory_may_name_the_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.jsonl").write_bytes(GOOD * (2 if split == "train" else 1))
    assert len(read(tmp_path, "train")) == 2
    assert len(read(tmp_path, "test")) == 1
