"""The Parquet tables that stages hand to each other, and how they look in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preference.errors import InputError
from preference.files import replacing

RAW = pa.schema([("chosen", pa.string()), ("rejected", pa.string())])

# What Arrow raises for a damaged file; names of columns that are no text are among it.
UNREADABLE = (pa.ArrowException, UnicodeDecodeError, OSError)

# Metadata of raw and prepared tables: where the dialogues come from.
SOURCE = "data"

# `prompt_ids` holds as much of the prompt as the longer-kept side needs; each side sees the last
# `*_prompt_tokens` of them, then its response.
PREPARED = pa.schema(
    [
        ("row", pa.int64()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("chosen_ids", pa.list_(pa.int32())),
        ("rejected_ids", pa.list_(pa.int32())),
        ("chosen_prompt_tokens", pa.int32()),
        ("rejected_prompt_tokens", pa.int32()),
    ]
)

# Summed log-probabilities in nats, and the number of tokens that each sum is over.
SCORES = pa.schema(
    [
        ("row", pa.int64()),
        ("chosen_logp", pa.float64()),
        ("chosen_tokens", pa.int32()),
        ("rejected_logp", pa.float64()),
        ("rejected_tokens", pa.int32()),
    ]
)

# One prompt of the test pairs, the response preferred in the data, and each model's answer.
SAMPLES = pa.schema(
    [
        ("row", pa.int64()),
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("base", pa.string()),
        ("sft", pa.string()),
        ("policy", pa.string()),
    ]
)


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one array: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def to_arrow(self) -> pa.ListArray:
        return pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), pa.array(self.values))

    @staticmethod
    def joined(values: list[np.ndarray], lengths: list[np.ndarray]) -> "Ragged":
        """Of the rows' lengths and their values, both in parts."""
        offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        return Ragged(_joined(values, np.int32), offsets)


@dataclass(frozen=True)
class Pairs:
    """The prepared pairs of one split, in file order.

    `rows`, `chosen_prompt_tokens` and `rejected_prompt_tokens` are of shape (pairs,); a side's
    sequence is the last `*_prompt_tokens` tokens of its prompt, then its response. `source` is
    where the dialogues come from, where that is known.
    """

    rows: np.ndarray
    prompt: Ragged
    chosen: Ragged
    rejected: Ragged
    chosen_prompt_tokens: np.ndarray
    rejected_prompt_tokens: np.ndarray
    source: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def largest_id(self) -> int:
        """The largest token id."""
        return int(
            max(part.values.max(initial=0) for part in (self.prompt, self.chosen, self.rejected))
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt and response together."""
        return int(self.longest_sides.max())

    @property
    def longest_sides(self) -> np.ndarray:
        """Tokens of each pair's longer sequence, (pairs,)."""
        return np.maximum(
            self.chosen_prompt_tokens + self.chosen.lengths,
            self.rejected_prompt_tokens + self.rejected.lengths,
        )


@dataclass(frozen=True)
class Scores:
    """What one model gives the responses of one split; every array is of shape (pairs,).

    `*_logp` are sums in nats, `*_tokens` the numbers of scored tokens, `context` what they were
    computed with (device, precision).
    """

    rows: np.ndarray
    chosen_logp: np.ndarray
    chosen_tokens: np.ndarray
    rejected_logp: np.ndarray
    rejected_tokens: np.ndarray
    context: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def responses(self, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
        """The scores of chosen and rejected: means over tokens if `normalize`, else sums."""
        if normalize:
            return (
                self.chosen_logp / self.chosen_tokens,
                self.rejected_logp / self.rejected_tokens,
            )
        return self.chosen_logp, self.rejected_logp


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file appears at `path` only when it is complete."""
    with (
        replacing(path) as temporary,
        # Checksums, so that what storage has damaged is not read as other numbers.
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield writer


def read(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table that a stage wrote.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    with _opened(path, schema) as file:
        table = file.read()
        require_all(file.metadata, table.num_rows)
        return table


@contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A table that a stage wrote, opened; what goes wrong while it is read is told, too."""
    if not path.exists():
        raise InputError(f"{path}: no such file; run the stage that makes it: dvc repro")
    # From the C library's heap, where what is freed serves the next tensor: Arrow's own keeps it.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if names != schema.names:
                raise InputError(
                    f"{path}: has columns {names}, expected {schema.names}; run dvc repro"
                )
            yield file
    except UNREADABLE as error:
        raise damaged(path, error) from None


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


def source(schema: pa.Schema) -> str | None:
    """Where the dialogues of a raw or prepared table come from, if it says so."""
    found = (schema.metadata or {}).get(SOURCE.encode())
    return None if found is None else found.decode()


def read_pairs(path: Path) -> Pairs:
    """Read prepared pairs, a row group at a time: all of them would be there twice.

    Raises:
        InputError: as `read`.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in PREPARED.names}
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in PREPARED.names}
    with _opened(path, PREPARED) as file:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number).cast(PREPARED)
            group.validate()
            require_all(file.metadata.row_group(number), group.num_rows)
            for name, column in zip(group.column_names, group.columns, strict=True):
                part = column.combine_chunks()
                if isinstance(part, pa.ListArray):
                    lengths[name].append(part.value_lengths().to_numpy(zero_copy_only=False))
                    part = part.flatten()
                # A copy: Arrow's memory goes with the group.
                values[name].append(part.to_numpy(zero_copy_only=False).copy())
        require_all(file.metadata, sum(map(len, values["row"])))
        where = source(file.schema_arrow)

    def ragged(name: str) -> Ragged:
        return Ragged.joined(values[name], lengths[name])

    return Pairs(
        rows=_joined(values["row"], np.int64),
        prompt=ragged("prompt_ids"),
        chosen=ragged("chosen_ids"),
        rejected=ragged("rejected_ids"),
        chosen_prompt_tokens=_joined(values["chosen_prompt_tokens"], np.int32),
        rejected_prompt_tokens=_joined(values["rejected_prompt_tokens"], np.int32),
        source=where,
    )


def _joined(parts: list[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    """The parts, which are given up, as one array."""
    whole = np.concatenate([np.empty(0, dtype), *parts])
    parts.clear()
    return whole


def read_scores(path: Path) -> Scores:
    table = read(path, SCORES)
    metadata = table.schema.metadata or {}
    context = {key.decode(): value.decode() for key, value in metadata.items()}
    columns = {name: table[name].to_numpy() for name in SCORES.names}
    return Scores(columns.pop("row"), **columns, context=context)


def write_scores(path: Path, scores: Scores) -> None:
    columns = [
        scores.rows,
        scores.chosen_logp,
        scores.chosen_tokens,
        scores.rejected_logp,
        scores.rejected_tokens,
    ]
    schema = SCORES.with_metadata(scores.context)
    with writing(path, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
