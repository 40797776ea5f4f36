"""The two text columns of a source, checked before a row is used."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice

import pyarrow as pa

from preference.core.errors import InputError
from preference.store.tables import RAW

BATCH_ROWS = 10_000


def require_texts(names: Collection[str], kind: Callable[[str], str], where: str) -> None:
    """Refuse what lacks a column, or has one that is not text; `where` names it.

    Args:
        kind: what the column of a name holds; Arrow's own word where it is text.
    """
    for name in RAW.names:
        if name not in names:
            raise InputError(
                f"{where}: no column {name!r} (it has {', '.join(names) or 'none'}); each row "
                "needs chosen and rejected"
            )
        if kind(name) not in ("string", "large_string"):
            raise InputError(f"{where}: column {name!r} must be text, but is {kind(name)}")


def batched(rows: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    """Texts that are known to be good, as batches of `tables.RAW`."""
    rows = iter(rows)
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_arrays(list(zip(*chunk, strict=True)), schema=RAW)


def checked(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], where: str
) -> Generator[pa.RecordBatch, None, int]:
    """Batches of `tables.RAW`, and at the end how many rows they had.

    Raises:
        InputError: a column is missing or no text, or a text is null or no UTF-8; with its row.
    """
    require_texts(schema.names, lambda name: str(schema.field(name).type), where)
    rows = 0
    for batch in batches:
        for name in RAW.names:
            column = batch.column(name)
            with suppress(pa.ArrowInvalid):
                column.validate(full=True)
                if not column.null_count:
                    continue
            texts = column.cast(pa.large_binary()).to_pylist()
            good = [text == (text or b"").decode(errors="ignore").encode() for text in texts]
            at = good.index(False)
            wrong = "must be text, but is null" if texts[at] is None else "is not UTF-8"
            raise InputError(f"{where}, row {rows + at}: column {name!r} {wrong}")
        yield batch.select(RAW.names).cast(RAW)
        rows += batch.num_rows
    return rows
