"""Arrow's types, and its files, whole or not."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from format_cases import ASKED, TEXTS, pair, read, refused, table

from preference.core.errors import InputError
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
