"""The data in a params file: what loads, and how the others are refused."""

from pathlib import Path

import pytest
from data_helpers import refused_value, write_params

from preference.core import params


def test_all_pairs_are_asked_for_with_null(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.train_pairs": None, "data.eval_pairs": None}
    loaded = params.load(write_params(tmp_path / "params.yaml", changes))
    assert loaded.data.train_pairs is None
    assert loaded.data.eval_pairs is None


@pytest.mark.parametrize("value", ["path/*.parquet", ["one.jsonl", "two.jsonl"]])
def test_a_source_is_text_or_a_list_of_texts(tmp_path: Path, value: object) -> None:
    path = write_params(tmp_path / "params.yaml", {"data.source": value})
    assert params.load(path).data.source == value


@pytest.mark.parametrize(
    ("pairs", "rows", "wanted"),
    [
        ("train_pairs", "train_rows", 20_001),
        ("eval_pairs", "test_rows", 2_001),
    ],
)
def test_more_pairs_than_the_demo_makes_are_refused(
    tmp_path: Path, pairs: str, rows: str, wanted: int
) -> None:
    message = refused_value(tmp_path, f"data.{pairs}", wanted)
    assert "data" in message
    assert f"{pairs} asks for {wanted}" in message
    assert f"raise data.demo.{rows}" in message


def test_pairs_of_another_source_are_not_bound_by_the_demo(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.source": "some/files", "data.train_pairs": 10**6}
    loaded = params.load(write_params(tmp_path / "params.yaml", changes))
    assert loaded.data.train_pairs == 10**6
