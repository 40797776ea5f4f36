"""The Parquet tables that stages hand to each other: their schemas, written and read."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preference.core.errors import InputError
from preference.core.files import replacing

RAW = pa.schema([("chosen", pa.string()), ("rejected", pa.string())])

# A turn: who speaks, and what is said.
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])

# A row of any other format than hh-rlhf's. Scores rank the responses; a label is of the only one;
# without either, the first is preferred to the second. A prompt whose only turn is nobody's is a
# text that the data lay out themselves.
CONVERSATIONS = pa.schema(
    [
        ("prompt", pa.list_(TURN)),
        ("responses", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("label", pa.bool_()),
        ("weight", pa.float32()),
        ("unusable", pa.string()),
    ]
)

# Columns that raw tables have only where data have them: how much a row that is a pair counts, and
# by how much its chosen reward is to be ahead. Null stands for 1, and for 0.
RAW_OF_PAIRS = {"pair_weight": pa.float32(), "margin": pa.float32()}

# Rows of a group, the most that is read at once; prepared tables have fewer.
GROUP_ROWS = 2**14

# What Arrow raises for a damaged file; names of columns that are no text are among it.
UNREADABLE = (pa.ArrowException, UnicodeDecodeError, OSError)

# Keys of a table's metadata: where the texts come from, and in which format they came.
SOURCE, FORMAT = "data", "format"
# And of prepared ones: how their turns are laid out, and the token that ends an answer.
TEMPLATE, END = "template", "end"

# A row is a prompt with its responses. `chosen` and `rejected` are places among these, an entry a
# pair; a label that the data do not give is null, and so is a weight, which then is 1. Where there
# are several sources, each row has the title of its own, else null.
INDEX = {
    "row": pa.int64(),
    "source": pa.string(),
    "labels": pa.list_(pa.bool_()),
    "weights": pa.list_(pa.float32()),
    "chosen": pa.list_(pa.int32()),
    "rejected": pa.list_(pa.int32()),
}

# The same of prepared tables and of scores, an entry a pair.
OF_PAIRS = {"pair_weights": pa.list_(pa.float32()), "margins": pa.list_(pa.float32())}

# `prompt_ids` holds as much of the prompt as the response that keeps most of it needs; each
# response sees the last `prompt_tokens` of them. `answers` are the assistant's earlier ones, where
# SFT learns them: the first token of each and the one behind its last, counted from the end of
# `prompt_ids`. The texts are whole.
PREPARED = pa.schema(
    INDEX
    | {
        "prompt_ids": pa.list_(pa.int32()),
        "response_ids": pa.list_(pa.list_(pa.int32())),
        "prompt_tokens": pa.list_(pa.int32()),
        "answers": pa.list_(pa.int32()),
        "prompt": pa.string(),
        "turns": pa.list_(TURN),
        "responses": pa.list_(pa.string()),
    }
)

# Summed log-probabilities in nats, and the number of tokens that each sum is over.
SCORES = pa.schema(INDEX | {"logps": pa.list_(pa.float64()), "tokens": pa.list_(pa.int32())})

# One prompt of the test split, the response preferred in the data, and each model's answer;
# `question` is what the prompt's last turn asks.
SAMPLES = pa.schema(
    [
        ("row", pa.int64()),
        ("question", pa.string()),
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("base", pa.string()),
        ("sft", pa.string()),
        ("policy", pa.string()),
    ]
)


def extended(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    """A schema with those columns at its end that tables have only where data have them."""
    beside = (RAW_OF_PAIRS | OF_PAIRS).items()
    return pa.schema(
        [*schema, *(pa.field(name, kind) for name, kind in beside if name in names)],
        schema.metadata,
    )


def plain(schema: pa.Schema) -> pa.Schema:
    """A schema without the columns that `extended` adds."""
    beside = RAW_OF_PAIRS | OF_PAIRS
    return pa.schema([field for field in schema if field.name not in beside])


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file appears at `path` only when it is complete."""
    with (
        replacing(path) as temporary,
        # Checksums, so that what storage has damaged is not read as other numbers.
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield writer


def read(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a table that a stage wrote, or some of its columns.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    with _opened(path, schema) as file:
        table = file.read(columns)
        require_all(file.metadata, table.num_rows)
        return table


@contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A table that a stage wrote, opened; what goes wrong while it is read is told, too."""
    require(path)
    # From the C library's heap, where what is freed serves the next tensor: Arrow's own keeps it.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = plain(file.schema_arrow).names
            if names != schema.names:
                raise InputError(
                    f"{path}: has columns {names}, expected {schema.names}; run dvc repro"
                )
            yield file
    except UNREADABLE as error:
        raise damaged(path, error) from None


def require(path: Path) -> None:
    """Refuse a table that is not there."""
    if not path.exists():
        raise InputError(f"{path}: no such file; run the stage that makes it: dvc repro")


def require_all(metadata: pq.FileMetaData | pq.RowGroupMetaData, rows: int) -> None:
    """Raise what `UNREADABLE` has if fewer rows were read than a file, or a group of it, says.

    The header of a page is under no checksum, and one that damage has made an empty page's is read
    as one.
    """
    if rows != metadata.num_rows:
        raise pa.ArrowInvalid(f"{rows} rows could be read of {metadata.num_rows}")


def damaged(path: Path, error: Exception) -> InputError:
    """What to say of a table that a stage wrote and that is not as it was written."""
    return InputError(
        f"{path}: not readable as Parquet ({error}); run make check-cache, which removes what is "
        "damaged, then dvc repro"
    )


def metadata(path: Path, schema: pa.Schema) -> dict[str, str]:
    """What a table says of itself, by `SOURCE` and the other keys.

    Raises:
        InputError: as `read`.
    """
    with _opened(path, schema) as file:
        found = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def groups(
    path: Path, schema: pa.Schema, names: list[str]
) -> Iterator[dict[str, list[np.ndarray]]]:
    """Columns a row group at a time, since no process needs all of them at once.

    Yields:
        What `flat` has of a group, columns of `OF_PAIRS` that there are among it; before all
        groups, so that there is one, what it has of no rows.

    Raises:
        InputError: as `read`.
    """
    rows = 0
    with _opened(path, schema) as file:
        names = [*names, *(name for name in file.schema_arrow.names if name in OF_PAIRS)]
        schema = extended(schema, names)
        wanted = pa.schema([schema.field(name) for name in names])
        yield flat(wanted.empty_table(), names)
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, names).select(names).cast(wanted)
            group.validate()
            require_all(file.metadata.row_group(number), group.num_rows)
            rows += group.num_rows
            found = flat(group, names)
            _require_values(file.metadata.row_group(number), found)
            yield found
        require_all(file.metadata, rows)


def _require_values(group: pq.RowGroupMetaData, found: dict[str, list[np.ndarray]]) -> None:
    """Raise what `UNREADABLE` has if a column holds fewer values than a row group says.

    Lists end earlier where damage has hidden some of their values.
    """
    for place in range(group.num_columns):
        column = group.column(place)
        name = column.path_in_schema.partition(".")[0]
        if name in found:
            # A list without values has an entry, too.
            *lengths, values = found[name]
            entries = len(values) + sum(int((length == 0).sum()) for length in lengths)
            if entries != column.num_values:
                raise pa.ArrowInvalid(f"{entries} values of {name} could be read")


def flat(table: pa.Table | pa.RecordBatch, names: Iterable[str]) -> dict[str, list[np.ndarray]]:
    """For each column the lengths of its lists, level by level, then its values.

    Null booleans are -1.
    """
    return {name: _levels(table[name]) for name in names}


def _levels(column: pa.Array | pa.ChunkedArray) -> list[np.ndarray]:
    part = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    levels = []
    while isinstance(part, pa.ListArray):
        levels.append(part.value_lengths())
        part = part.flatten()
    if pa.types.is_boolean(part.type):
        part = part.cast(pa.int8()).fill_null(-1)
    return [level.to_numpy(zero_copy_only=False) for level in (*levels, part)]


def lists(values: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    """A column of lists of these lengths, from their values one after the other."""
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(lengths)), pa.int32()), values)
