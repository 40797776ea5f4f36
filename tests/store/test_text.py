"""Small outputs as text: what is written, and that it is whole or absent."""

import json
import math
from pathlib import Path

import pytest

from preference.store.text import write_json, write_text


def test_json_keeps_order_and_types(tmp_path: Path) -> None:
    values = {"pairs": 3, "margin": 0.1, "device": "cpu", "done": True, "nothing": None}
    path = tmp_path / "metrics.json"
    write_json(path, values)
    assert path.read_text() == (
        '{\n  "pairs": 3,\n  "margin": 0.1,\n  "device": "cpu",\n  "done": true,\n'
        '  "nothing": null\n}\n'
    )


def test_json_has_null_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"margin_low": math.nan, "margin": 1.5})
    assert json.loads(path.read_text()) == {"margin_low": None, "margin": 1.5}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"pairs": 1})
    with pytest.raises(TypeError):
        write_json(path, {"pairs": object()})
    assert json.loads(path.read_text()) == {"pairs": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "table.md", "Größe ≥ 1\n")
    assert (tmp_path / "table.md").read_bytes() == "Größe ≥ 1\n".encode()
