"""Formats are told apart by their columns, names and types."""

from pathlib import Path

import pyarrow as pa
import pytest

from preference.core.errors import InputError
from preference.data.formats import hh, labelled, ranked, registry

RAW = Path("data/raw/train.parquet")


@pytest.mark.parametrize("known", [hh, labelled, ranked])
def test_each_format_is_found_by_its_columns(known: object) -> None:
    schema: pa.Schema = known.SCHEMA  # type: ignore[attr-defined]
    # Where the texts come from is no column.
    assert registry.of(schema.with_metadata({"data": "demo"}), RAW) is known


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("chosen", pa.string())]),
        pa.schema([("chosen", pa.string()), ("rejected", pa.int64())]),
        pa.schema([*hh.SCHEMA, ("prompt", pa.string())]),
    ],
)
def test_other_columns_are_named(schema: pa.Schema) -> None:
    message = (
        r"data/raw/train\.parquet: has columns chosen \(string\).*; known are chosen \(string\)"
    )
    with pytest.raises(InputError, match=message):
        registry.of(schema, RAW)
