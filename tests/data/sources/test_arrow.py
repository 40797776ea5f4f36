"""Arrow's types, and its files, whole or not."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset
from format_cases import ASKED, TEXTS, assistant, labelled, lines, pair, read, refused, table, user

from preference.core.errors import InputError
from preference.data.formats.example import Unusable
from preference.data.sources import arrow


def test_types_of_arrow_do_not_matter(tmp_path: Path) -> None:
    """Large, viewed, dictionary-encoded, and a struct of lists for a list of structs."""
    columns = {
        "prompt": pa.array(["Where?"]).dictionary_encode(),
        "chosen": pa.array(["Here."], pa.large_string()),
        "rejected": pa.array(["No."], pa.string_view()),
    }
    for number, name in enumerate(("train.arrow", "train.parquet")):
        place = tmp_path / str(number)
        place.mkdir()
        if name.endswith("arrow"):
            with pa.ipc.new_file(place / name, (found := pa.table(columns)).schema) as writer:
                writer.write_table(found)
        else:
            pq.write_table(pa.table(columns), place / name)
        assert read(place) == [pair([ASKED], "Here.", "No.", text="Where?")]
    sides = {
        side: [{"role": ["user", "assistant"], "content": ["Where?", text], "name": None}]
        for side, text in (("chosen", "Here."), ("rejected", "No."))
    }
    place = tmp_path / "struct"
    place.mkdir()
    pq.write_table(pa.table(sides), place / "train.parquet")
    assert read(place) == [pair([ASKED], "Here.", "No.")]
    pq.write_table(
        pa.table(sides | {"chosen": [{"role": ["user"], "content": ["a", "b"]}]}),
        place / "train.parquet",
    )
    assert "row 0: column 'chosen': expected as many of each key" in refused(place)


@pytest.mark.parametrize("kind", ["arrow", "parquet", "saved"])
def test_columns_beside_are_not_read(kind: str, tmp_path: Path) -> None:
    """Images, times that Python lacks, text that is no UTF-8."""
    columns = {
        "image": pa.array([{"bytes": b"\xff" * 9, "path": "a"}]),
        "input": pa.array([b"\xff\xff"]),
        "when": pa.array([2**40], pa.timestamp("s")),
        "at": pa.array([datetime(2024, 7, 26)]),
        "source": pa.array([b"\xff"]).view(pa.string()),
        **{name: pa.array([text]) for name, text in TEXTS.items()},
    }
    place, found = tmp_path / "own", pa.table(columns)
    place.mkdir()
    if kind == "parquet":
        pq.write_table(found, place / "train.parquet")
    elif kind == "arrow":
        with pa.ipc.new_stream(place / "train.arrow", found.schema) as writer:
            writer.write_table(found)
    else:
        del columns["when"]
        Dataset(pa.table(columns)).save_to_disk(str(place / "train"))
    assert read(place) == [pair([ASKED], "Here.", "No.", text="Where?")]
    message = refused(place, columns={"prompt": "input", "ignore": "prompt"})
    assert "row 0: column 'prompt': expected text or messages, not b" in message


def test_an_arrow_stream_that_was_cut_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "own"
    place.mkdir()
    file = place / "train.arrow"
    found = table([TEXTS])
    with pa.ipc.new_stream(file, found.schema) as writer:
        writer.write_table(found)
        size = file.stat().st_size
        writer.write_table(found)
    whole = file.read_bytes()
    file.write_bytes(whole[: size + 100])
    assert f"{file}: not readable as Arrow" in refused(place)
    # At the border of two batches.
    file.write_bytes(whole[:-8])
    assert f"{file}: not readable as Arrow (its end is missing)" in refused(place)


def test_rows_are_read_in_parts_and_counted() -> None:
    """However large a file's batches are; a bad value is named by its row in all of them."""
    texts = [b"a"] * (arrow.BATCH_ROWS + 2)
    texts[-1] = b"\xff"
    batches = [
        pa.record_batch([pa.array(column).view(pa.string())], names=["a"])
        for column in ([b"b"], texts)
    ]
    found = list(arrow.rows(batches, "here"))
    assert [where for where, _ in found[:2]] == ["here, row 0", "here, row 1"]
    assert len(found) == len(texts) + 1
    assert [dict(row) for _, row in found[:2]] == [{"a": "b"}, {"a": "a"}]
    where, row = found[-1]
    assert where == f"here, row {len(texts)}"
    with pytest.raises(InputError, match=f"^{where}: column 'a' is not UTF-8"):
        row["a"]
    with pytest.raises(KeyError):
        row["b"]


def test_of_images_only_the_name_is_known() -> None:
    """Whether or not they are in a list; of messages the rest is wanted."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    said = pa.struct({"role": pa.string(), "content": pa.list_(image)})
    schema = pa.schema(
        {"a": image, "b": pa.list_(image), "c": pa.large_binary(), "d": pa.list_(said), "e": said}
    )
    assert arrow.readable(schema) == ["d", "e"]


@pytest.mark.parametrize("kind", ["arrow", "parquet", "saved"])
def test_json_in_columns_of_no_one_type_is_read(kind: str, tmp_path: Path) -> None:
    """As `datasets` has contents that are text here and parts there, and calls of tools."""
    parts = assistant("") | {"content": [{"type": "text", "text": "Here."}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "find"}]}
    rows = [
        {"messages": [user("Where?"), answer], "label": True}
        for answer in (assistant("Here."), parts, call)
    ]
    place = tmp_path / "own"
    place.mkdir()
    (place / "train.jsonl").write_bytes(lines(rows))
    (wild,) = load_dataset(
        "json", data_files=str(place / "train.jsonl"), cache_dir=str(tmp_path / "cache")
    ).values()
    assert "json" in str(wild.data.schema.field("messages").type)
    (place / "train.jsonl").unlink()
    if kind == "saved":
        wild.save_to_disk(str(place / "train"))
    elif kind == "parquet":
        wild.to_parquet(str(place / "train.parquet"))
    else:
        with pa.ipc.new_file(place / "train.arrow", wild.data.schema) as writer:
            writer.write_table(wild.data.table)
    good = labelled([ASKED], "Here.", True, None)
    assert read(place) == [good, good, Unusable.MORE_THAN_TEXT]


def test_json_within_structs_is_read(tmp_path: Path) -> None:
    def packed(*texts: str) -> pa.Array:
        return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))

    def said(answer: str) -> pa.Array:
        columns = [pa.array(["user", "assistant"]), packed('"Where?"', answer)]
        turns = pa.StructArray.from_arrays(columns, names=["role", "content"])
        return pa.ListArray.from_arrays([0, 2], turns)

    sides = {"chosen": said('"Here."'), "rejected": said('[{"type": "text", "text": "No."}]')}
    pq.write_table(pa.table(sides), tmp_path / "train.parquet")
    assert read(tmp_path) == [pair([ASKED], "Here.", "No.")]
    bad = pa.table(sides | {"rejected": packed("{")})
    pq.write_table(bad, tmp_path / "train.parquet")
    assert "train.parquet, row 0: column 'rejected' (Expecting" in refused(tmp_path)
