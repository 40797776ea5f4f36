"""Which source a name means, and what fetch-data makes of it."""

from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_helpers import run_stage, write_params
from source_helpers import COMMIT, ROWS, data, read, refused, write_gzip, write_jsonl

from preference.data.sources import registry


def test_names_say_where_dialogues_come_from_and_tell_no_path(tmp_path: Path) -> None:
    for name in ("train-1", "train-2", "test"):
        (tmp_path / f"{name}.jsonl").write_text(name)
    # In the order of the splits, then of their names.
    digests = [sha256(name.encode()).hexdigest() for name in ("train-1", "train-2", "test")]
    together = sha256("".join(digests).encode()).hexdigest()[:12]
    names = "train-1.jsonl, train-2.jsonl, test.jsonl"
    found = [registry.name(data(source, COMMIT)) for source in ("demo", tmp_path, "someone/pairs")]
    assert found == ["demo", f"{names} (sha256 {together})", f"someone/pairs@{COMMIT}"]


def test_of_many_files_the_first_are_named(tmp_path: Path) -> None:
    for name in ("train-1", "train-2", "train-3", "train-4", "test"):
        (tmp_path / f"{name}.jsonl").touch()
    shown = ", ".join(f"train-{i}.jsonl" for i in (1, 2, 3, 4))
    assert registry.name(data(tmp_path)).startswith(f"{shown} and 1 more (sha256 ")


def test_the_demo_gives_the_rows_asked_for() -> None:
    found, batches = registry.raw(data("demo"), "test")
    assert found.name == "dialogues"
    assert sum(batch.num_rows for batch in batches) == 2_000


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


def test_the_stage_writes_both_splits(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_gzip(tmp_path / "own" / "train", ROWS)
    write_gzip(tmp_path / "own" / "test", ROWS[:1])
    write_params(tmp_path / "params.yaml", {"data.source": "own"})
    done = run_stage("fetch_data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert read(str(tmp_path / "data/raw/*"), "train") == ROWS
    assert read(str(tmp_path / "data/raw/*"), "test") == ROWS[:1]
    metadata = pq.read_schema(tmp_path / "data/raw/test.parquet").metadata
    name = registry.name(data(str(tmp_path / "own"))).encode()
    assert (metadata[b"data"], metadata[b"format"]) == (name, b"dialogues")
    assert "data/raw/train.parquet: 3 rows, format dialogues" in done.stderr


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
