"""Texts as people read them."""

from pathlib import Path

import pyarrow as pa
import pytest

from preference.core.errors import InputError
from preference.store import tables, texts
from preference.store.texts import Text

PROMPT = "a 🙂\n b|c|d  e"
TURNS = [("user", "a 🙂\n b"), ("assistant", "c"), ("user", "d  e")]


def row(number: int, **values: object) -> dict[str, object]:
    nothing: dict[str, object] = {name: [] for name in tables.PREPARED.names}
    return nothing | {"row": number, "source": None, "prompt": "", "responses": ["x", "y"]} | values


def write(path: Path) -> Path:
    turns = [dict(zip(("role", "content"), turn, strict=True)) for turn in TURNS]
    rows = [
        row(3, prompt=PROMPT, turns=turns, chosen=[1], rejected=[0]),
        row(5, prompt="no  marker"),
    ]
    with tables.writing(path, tables.PREPARED) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=tables.PREPARED))
    return path


def test_turns_are_who_speaks_and_what_is_said(tmp_path: Path) -> None:
    first, second = texts.read(write(tmp_path / "t.parquet"))
    assert first == Text(3, PROMPT, TURNS, ["x", "y"], [(1, 0)])
    assert first.questions == ["a 🙂 b", "d e"]
    assert (first.question, first.preferred) == ("d e", "y")
    # Without turns and pairs, the prompt is what is asked, and the first response as good as any.
    assert (second.questions, second.question, second.preferred) == ([], "no marker", "x")


def test_only_the_rows_that_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet")
    assert [text.row for text in texts.read(path, [5])] == [5]
    with pytest.raises(InputError, match="no such file"):
        texts.read(tmp_path / "none.parquet")
