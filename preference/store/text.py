"""Small outputs as text: JSON objects, and what is text already."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from preference.core.files import replacing


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write one JSON object, in the order given; NaN, which JSON lacks, becomes null."""
    known = {key: None if _is_nan(value) else value for key, value in values.items()}
    write_text(path, json.dumps(known, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
