"""Rows of Arrow's tables, one by one, of which only the columns that are asked for are read."""

import io
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preference.core.errors import InputError
from preference.store.tables import UNREADABLE, require_all

BATCH_ROWS = 1_000
Row = tuple[str, Mapping[str, Any]]  # where it stands, and its columns
# Of messages, whose parts may hold an image, the rest is needed.
SPEAKERS = {"role", "from"}
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream, since Arrow 0.15


class _Batch:
    """The columns of a record batch, each made Python's when it is first asked for.

    Columns beside the used ones may be large, or hold what Python has no value for.
    """

    def __init__(self, batch: pa.RecordBatch, names: tuple[str, ...], where: str, row: int) -> None:
        self.names = names
        self._batch, self._where, self._row = batch, where, row
        self._values: dict[str, list[Any]] = {}

    def value(self, name: str, place: int) -> Any:
        if name not in self._values:
            if name not in self.names:
                raise KeyError(name)
            self._values[name] = self._read(name)
        return self._values[name][place]

    def _read(self, name: str) -> list[Any]:
        try:
            if name not in self._batch.schema.names:
                return [BINARY] * self._batch.num_rows
            column = self._batch[name]
            values: list[Any] = column.to_pylist()
            packed = _holds_json(column.type)
            return [_unpacked(value, column.type) for value in values] if packed else values
        except (ValueError, OverflowError):
            return [self._single(name, place) for place in range(self._batch.num_rows)]

    def _single(self, name: str, place: int) -> Any:
        """One value, in a column of which one is bad."""
        try:
            value = self._batch[name][place]
            return _unpacked(value.as_py(), value.type)
        except (ValueError, OverflowError) as error:
            where = f"{self._where}, row {self._row + place}: column {name!r}"
            utf8 = " is not UTF-8" if isinstance(error, UnicodeDecodeError) else ""
            raise InputError(f"{where}{utf8} ({error}); mend or remove the row") from None


class _Values(Mapping[str, Any]):
    """One row."""

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: _Batch, place: int) -> None:
        self._batch, self._place = batch, place

    def __getitem__(self, name: str) -> Any:
        return self._batch.value(name, self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.names)

    def __len__(self) -> int:
        return len(self._batch.names)


class _Binary:
    """What stands for an image, sound or other bytes, which no format uses."""

    def __repr__(self) -> str:
        return "binary data"


BINARY = _Binary()


def rows(
    batches: Iterable[pa.RecordBatch], where: str, schema: pa.Schema | None = None
) -> Generator[Row, None, int]:
    """The rows of record batches, and at the end how many there were.

    Args:
        schema: has the columns' names, where the batches lack some that are bytes.

    Raises:
        InputError: two columns have one name, or a value that is asked for cannot be read.
    """
    row = 0
    for batch in batches:
        names = tuple((schema or batch.schema).names)
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{where}: has two columns {name!r}; rename one")
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            values = _Batch(part, names, where, row)
            for place in range(part.num_rows):
                yield f"{where}, row {row + place}", _Values(values, place)
            row += part.num_rows
    return row


def readable(schema: pa.Schema) -> list[str]:
    """The columns that are no images, sounds or other bytes, which it would take long to read."""
    return [field.name for field in schema if not _is_binary(field.type)]


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        if any(field.name in SPEAKERS for field in fields):
            return False
        return any(_is_binary(field.type) for field in fields)
    if _is_list(kind):
        return _is_binary(kind.value_type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists)


def _is_json(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def _holds_json(kind: pa.DataType) -> bool:
    """Whether values are text that stands for others: `datasets` has so what has no one type."""
    if pa.types.is_struct(kind):
        return any(_holds_json(kind.field(place).type) for place in range(kind.num_fields))
    return _holds_json(kind.value_type) if _is_list(kind) else _is_json(kind)


def _unpacked(value: Any, kind: pa.DataType) -> Any:
    """A value with the JSON in it read."""
    if value is None:
        return None
    if _is_json(kind):
        return json.loads(value)
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return {field.name: _unpacked(value[field.name], field.type) for field in fields}
    if _is_list(kind):
        return [_unpacked(one, kind.value_type) for one in value]
    return value


def parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            names = readable(schema)
            wanted = None if len(names) in (0, len(schema)) else names
            read = yield from rows(file.iter_batches(BATCH_ROWS, columns=wanted), str(path), schema)
            require_all(file.metadata, read)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as Parquet ({error}); fetch the file again"
        ) from None


def ipc(path: Path) -> Iterator[Row]:
    """The rows of an Arrow file, as a stream or with an index."""
    try:
        with pa.memory_map(str(path)) as file:
            yield from rows(_batches(file), str(path))
    except UNREADABLE as error:
        raise InputError(f"{path}: not readable as Arrow ({error}); fetch the file again") from None


def _batches(file: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
    try:
        stream = pa.ipc.open_stream(file)
    except pa.ArrowInvalid:
        indexed = pa.ipc.open_file(file)
        yield from map(indexed.get_batch, range(indexed.num_record_batches))
        return
    yield from stream
    # Without it a stream that was cut between two batches reads as a shorter one.
    file.seek(-len(END), io.SEEK_END)
    if file.read() != END:
        raise pa.ArrowInvalid("its end is missing")
