"""JSON and CSV as people write them; what all kinds of file share is in test_formats_of_files."""

import json
from pathlib import Path

import pytest
from format_cases import ASKED, MESSAGES, TEXTS, pair, read, refused, write


@pytest.mark.parametrize("kind", ["jsonl", "a list"])
def test_a_key_that_stands_twice_is_refused(kind: str, tmp_path: Path) -> None:
    place = write(tmp_path / "own", [TEXTS], kind)
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"rejected"', b'"chosen"'))
    message = refused(place)
    assert message.startswith(str(file))
    assert "the key 'chosen' stands twice in one object" in message


@pytest.mark.parametrize("kind", ["jsonl", "a list", "lines in .json", "csv"])
def test_a_byte_order_mark_and_windows_line_ends_are_read(kind: str, tmp_path: Path) -> None:
    place = write(tmp_path / "own", [TEXTS, TEXTS], kind)
    (file,) = place.iterdir()
    ends = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + ends)
    assert read(place) == [pair([ASKED], "Here.", "No.", text="Where?")] * 2


def test_json_may_have_its_columns_one_by_one(tmp_path: Path) -> None:
    expected = [pair([ASKED], "Here.", "No.", text="Where?")] * 2
    lists = {name: [text, text] for name, text in TEXTS.items()}
    numbered = {name: {"0": text, "1": text} for name, text in TEXTS.items()}
    for number, value in enumerate((lists, numbered)):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "train.json").write_text(json.dumps(value, indent=1))
        assert read(place) == expected
    (place / "train.json").write_text(json.dumps(lists | {"chosen": ["a"]}))
    assert "other lengths (prompt: 2, chosen: 1, rejected: 2)" in refused(place)
    # One row, whose messages are lists, too.
    (place / "train.json").write_text(json.dumps(MESSAGES, indent=1))
    assert read(place) == [pair([ASKED], "Here.", "No.")]
