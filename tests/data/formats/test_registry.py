"""Formats are told apart by their columns; what a row lacks is named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preference.core.data_params import Columns, Rankings
from preference.core.errors import InputError
from preference.data.formats import conversations, hh, registry
from preference.data.formats.example import Turn, Unusable
from preference.data.formats.registry import Reader

RAW = Path("data/raw/train.parquet")
WHERE = "file, line 3"
MESSAGES = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize("known", [hh, conversations])
def test_each_raw_table_is_found_by_its_columns(known: object) -> None:
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
    message = r"data/raw/train\.parquet: has columns chosen \(string\).*run dvc repro fetch-data"
    with pytest.raises(InputError, match=message):
        registry.of(schema, RAW)


FORMATS: list[tuple[dict[str, object], str]] = [
    ({"chosen": "a", "rejected": "b"}, "dialogues"),
    ({"chosen": MESSAGES, "rejected": MESSAGES}, "preference"),
    ({"prompt": "Why?", "chosen": "a", "rejected": "b"}, "preference"),
    ({"prompt": "Why?", "completion": "a", "label": True}, "labelled"),
    ({"messages": MESSAGES, "label": False}, "labelled"),
    ({"prompt": "Why?", "completions": ["a", "b"], "scores": [1, 0]}, "ranked"),
    ({"prompt": "Why?", "responses": ["a", "b"], "scores": [1, 0]}, "ranked"),
]


@pytest.mark.parametrize(("row", "name"), FORMATS)
def test_each_format_is_found_by_its_columns(row: dict[str, Any], name: str) -> None:
    reader = Reader("auto", Columns(), row, WHERE)
    assert reader.format is registry.FORMATS[name]
    # With what it reads, a raw table can be filled.
    pa.Table.from_pylist([reader.read(row, WHERE)], schema=reader.format.schema)


def test_columns_may_have_other_names() -> None:
    row = {"q": "Why?", "more": "Say so.", "yes": "a", "no": "b", "prompt": "5"}
    columns = Columns(prompt=["q", "more"], chosen="yes", rejected="no", ignore="prompt")
    reader = Reader("auto", columns, row, WHERE)
    expected = conversations.row([Turn("", "Why?\n\nSay so.")], ["a", "b"])
    assert reader.read(row, WHERE) == expected


def test_a_row_that_gives_no_example_says_why() -> None:
    row = {"chosen": MESSAGES, "rejected": [*MESSAGES, *MESSAGES]}
    reader = Reader("auto", Columns(), row, WHERE)
    assert reader.read(row, WHERE) == conversations.unusable(Unusable.SEVERAL_TURNS)


BAD: list[tuple[str, dict[str, object], dict[str, object], str]] = [
    ("auto", {}, {"text": "a"}, "columns text are those of no format; known are chosen"),
    ("auto", {}, {}, "columns none are those of no format"),
    ("dialogues", {}, {"chosen": "a"}, r"no column 'rejected' \(it has chosen\)"),
    ("dialogues", {}, {"chosen": "a", "rejected": None}, "'rejected' must be text, but is null"),
    ("dialogues", {}, {"chosen": "a", "rejected": "\ud800"}, "half of a surrogate pair"),
    ("auto", {"prompt": "q"}, {"chosen": "a", "rejected": "b"}, "data.columns: no column 'q'"),
    (
        "auto",
        {"prompt": ["q", "n"]},
        {"q": "a", "n": 5, "chosen": "a", "rejected": "b"},
        "expected text or messages, not 5",
    ),
    (
        "auto",
        {},
        {"chosen": "a", "rejected": "b", "question": "c"},
        "'question' looks like a prompt",
    ),
    (
        "auto",
        {},
        {"chosen": "a", "rejected": "b", "preference": 1},
        "'preference' looks like a label",
    ),
    ("auto", {}, {"chosen": "a", "rejected": "b", "score_a": 1}, "'score_a' looks like a score"),
]


@pytest.mark.parametrize(("wanted", "columns", "row", "problem"), BAD)
def test_what_a_row_lacks_is_named(
    wanted: str, columns: dict[str, object], row: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError, match=f"{WHERE}: .*{problem}"):
        Reader(wanted, Columns.model_validate(columns), row, WHERE).read(row, WHERE)


@pytest.mark.parametrize("known", [hh, conversations])
def test_a_raw_table_that_was_written_is_known(known: object, tmp_path: Path) -> None:
    schema: pa.Schema = known.SCHEMA  # type: ignore[attr-defined]
    pq.write_table(schema.empty_table(), tmp_path / "raw.parquet")
    assert registry.of(pq.read_schema(tmp_path / "raw.parquet"), RAW) is known


TEXTS = {"prompt": "Why?", "chosen": "a", "rejected": "b"}
DIALOGUES = {"chosen": "Why?\n\nAssistant: a", "rejected": "Why?\n\nAssistant: b"}


@pytest.mark.parametrize("row", [TEXTS, DIALOGUES])
@pytest.mark.parametrize(
    "beside", [{}, {"weight": 0.5}, {"margin": -1}, {"weight": 2, "margin": 3}]
)
def test_a_table_has_weights_and_margins_of_pairs_where_the_first_row_has_them(
    row: dict[str, Any], beside: dict[str, float]
) -> None:
    first = {**row, **dict.fromkeys(beside)}
    reader = Reader("auto", Columns(), first, WHERE)
    plain = registry.FORMATS[reader.format.name].schema
    expected = [{"weight": "pair_weight"}.get(name, name) for name in beside]
    assert reader.format.schema.names == [*plain.names, *expected]
    assert reader.read(first, WHERE) == reader.read(row, WHERE)
    found = reader.read({**row, **beside}, WHERE)
    assert [found[name] for name in expected] == list(beside.values())
    batch = pa.RecordBatch.from_pylist([found, reader.read(row, WHERE)], reader.format.schema)
    known = registry.of(batch.schema, RAW)
    more = [Rankings()] if known is conversations else []
    read = [known.read(values, *more) for values in batch.to_pylist()]
    said = [(one.pair_weights, one.margins) for one in read]
    weight, margin = (
        (float(beside[name]),) if name in beside else () for name in ("weight", "margin")
    )
    assert said == [(weight, margin), ((), ())]


@pytest.mark.parametrize("name", ["weight", "margin"])
def test_a_column_that_the_first_row_lacks_is_asked_for_there(name: str) -> None:
    reader = Reader("auto", Columns(), TEXTS, WHERE)
    assert reader.read({**TEXTS, name: None}, WHERE) == reader.read(TEXTS, WHERE)
    with pytest.raises(InputError, match=f"{WHERE}: column '{name}' is not in the first row"):
        reader.read({**TEXTS, name: 1.0}, WHERE)
    # And where it means something else, it can be left out.
    left = Reader("auto", Columns(ignore=name), {**TEXTS, name: 1.0}, WHERE)
    assert left.format is registry.FORMATS["preference"]
    assert left.read({**TEXTS, name: 1.0}, WHERE) == reader.read(TEXTS, WHERE)


def test_other_formats_do_not_use_a_margin() -> None:
    for row in (
        {"prompt": "Why?", "completion": "a", "label": True, "margin": 1.0},
        {"prompt": "Why?", "completions": ["a", "b"], "scores": [1, 2], "margin": 1.0},
    ):
        with pytest.raises(InputError, match="column 'margin' looks like a score"):
            Reader("auto", Columns(), row, WHERE).read(row, WHERE)
