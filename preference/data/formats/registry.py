"""The formats of raw tables, told apart by their columns."""

from pathlib import Path
from types import ModuleType

import pyarrow as pa

from preference.core.errors import InputError
from preference.data.formats import hh, labelled, ranked

# Each has a `SCHEMA` of its rows, a function `read` from a row's values to an example or a reason
# why there is none, and the `REASONS` that it can give.
FORMATS: tuple[ModuleType, ...] = (hh, ranked, labelled)


def of(schema: pa.Schema, path: Path) -> ModuleType:
    """The format of a raw table; `path` names it.

    Raises:
        InputError: no format has such columns.
    """
    for known in FORMATS:
        if schema.equals(known.SCHEMA):
            return known
    raise InputError(
        f"{path}: has columns {', '.join(f'{f.name} ({f.type})' for f in schema)}; known are "
        + "; ".join(", ".join(f"{f.name} ({f.type})" for f in known.SCHEMA) for known in FORMATS)
    )
