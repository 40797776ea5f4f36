"""The two text columns of a source, checked before a row is used."""

import pyarrow as pa

from preference.errors import InputError
from preference.tables import RAW


def require_texts(schema: pa.Schema, where: str) -> None:
    """Refuse a table that lacks a column, or has one that is not text; `where` names it."""
    for name in RAW.names:
        if name not in schema.names:
            raise InputError(
                f"{where}: no column {name!r} (it has {', '.join(schema.names)}); each row needs "
                "chosen and rejected"
            )
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InputError(f"{where}: column {name!r} must be text, but is {kind}")


def checked(batch: pa.RecordBatch, where: str, first_row: int) -> pa.RecordBatch:
    """A batch of `tables.RAW`; a text that is missing or no UTF-8 is named by its row."""
    for name in RAW.names:
        column = batch.column(name)
        if column.null_count == 0 and _is_valid(column):
            continue
        texts = column.cast(pa.large_binary()).to_pylist()
        at = next(i for i, text in enumerate(texts) if text is None or not _is_utf8(text))
        wrong = "must be text, but is null" if texts[at] is None else "is not UTF-8"
        raise InputError(f"{where}, row {first_row + at}: column {name!r} {wrong}")
    return batch.select(RAW.names).cast(RAW)


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
