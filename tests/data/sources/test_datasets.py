"""Preference data from the Hub's library; how it is fetched, tests/core/test_hub.py shows."""

from pathlib import Path
from typing import Any

import pytest
from data_helpers import run_stage, write_params, write_raw
from datasets import Dataset
from source_helpers import COMMIT, ROWS

from preference.core.data_params import Columns
from preference.core.errors import InputError
from preference.data.formats.registry import Reader
from preference.data.sources import arrow, datasets


def read(dataset: Dataset) -> list[dict[str, Any]]:
    """The raw rows of a dataset of the library's."""
    rows = [(w, dict(v)) for w, v in arrow.rows(datasets._batches(dataset), "a dataset")]
    reader = Reader("auto", Columns(), rows[0][1], rows[0][0])
    return [reader.read(values, where) for where, values in rows]


def test_rows_of_a_hub_dataset_come_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "BATCH_ROWS", 10)
    texts = [f"{i} \u2028" for i in range(25)]
    dataset = Dataset.from_dict({"other": range(25), "rejected": texts[::-1], "chosen": texts})
    pairs = zip(texts, texts[::-1], strict=True)
    assert read(dataset) == [{"chosen": one, "rejected": other} for one, other in pairs]


def test_a_hub_dataset_with_a_null_is_refused() -> None:
    dataset = Dataset.from_dict({"chosen": ["a", "b", None], "rejected": ["c", "d", "e"]})
    with pytest.raises(InputError, match=r"a dataset, row 2: column 'chosen' must be text"):
        read(dataset)


def test_a_hub_dataset_without_a_column_is_refused() -> None:
    dataset = Dataset.from_dict({"chosen": ["a"], "prompt": ["c"]})
    with pytest.raises(
        InputError, match="a dataset, row 0: columns chosen, prompt are those of no"
    ):
        read(dataset)


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
