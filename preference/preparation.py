"""From a raw split to prepared pairs."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from preference import tokens
from preference.errors import InputError
from preference.leakage import Seen
from preference.progress import bar
from preference.tables import PREPARED, RAW, UNREADABLE, damaged, require_all, writing
from preference.transcripts import Pair, Unusable, split

BATCH_ROWS = 4_000
SKIPPED_ROWS_NAMED = 20


@dataclass
class Counts:
    """What became of one split; tokens are as kept, EOS included.

    `truncated_pairs` lost tokens of the prompt, or of a response, to `max_length`;
    `skipped_rows` names the first skipped rows of the source. `identical_responses` counts pairs
    that prefer a text to itself, `duplicates` pairs that came before; both stay in. The last two
    count pairs whose prompt, and of which a whole dialogue, stands in the training pairs, too.
    """

    rows_read: int = 0
    pairs: int = 0
    skipped: dict[str, int] = field(
        default_factory=lambda: {reason.value: 0 for reason in Unusable}
    )
    skipped_rows: list[int] = field(default_factory=list)
    truncated_pairs: int = 0
    prompt_tokens: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    identical_responses: int = 0
    duplicates: int = 0
    prompts_in_train: int | None = None
    dialogues_in_train: int | None = None

    def add(self, pair: Pair, seen: Seen, train: Seen | None) -> None:
        self.identical_responses += pair.chosen == pair.rejected
        self.duplicates += seen.add(pair)
        if train is not None:
            self.prompts_in_train = (self.prompts_in_train or 0) + train.has_prompt(pair)
            self.dialogues_in_train = (self.dialogues_in_train or 0) + train.has_dialogue(pair)

    def skip(self, row: int, reason: Unusable) -> None:
        self.skipped[reason] += 1
        # Rows without tokens are known only after the rest of their batch.
        insort(self.skipped_rows, row)
        del self.skipped_rows[SKIPPED_ROWS_NAMED:]

    def describe(self) -> str:
        reasons = ", ".join(f"{count} {name}" for name, count in self.skipped.items() if count)
        return f"{self.pairs} pairs of {self.rows_read} rows read; skipped: {reasons or 'none'}"

    def as_dict(self) -> dict[str, object]:
        """For a metrics file; what was not counted is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def prepare(
    raw: Path,
    out: Path,
    *,
    tokenizer_from: Path,
    max_length: int,
    pairs: int | None,
    seen: Seen | None = None,
    train: Seen | None = None,
) -> Counts:
    """Write the first usable pairs of a raw split as a table of `tables.PREPARED`.

    Args:
        raw: a table of `tables.RAW`.
        out: the table to write.
        tokenizer_from: directory of the model whose tokenizer is used.
        max_length: tokens that prompt and response may have together.
        pairs: how many to take; None takes all.
        seen: takes in what the split holds.
        train: what the training split holds, to compare with.

    Raises:
        InputError: no row gives a pair.
    """
    if not raw.exists():
        raise InputError(f"{raw}: no such file; run the stage that makes it: dvc repro fetch-data")
    tokenizer, eos_id = tokens.load(tokenizer_from)
    counts, seen = Counts(), Seen() if seen is None else seen
    with (
        _open(raw) as file,
        writing(out, PREPARED.with_metadata(file.schema_arrow.metadata)) as writer,
        bar(f"prepare {out.stem}", pairs or file.metadata.num_rows, "pairs") as progress,
    ):
        for rows, texts in _chunks(_usable(raw, file, counts), counts, pairs):
            batch, truncated = tokens.prepare(tokenizer, eos_id, max_length, rows, texts)
            kept = set(batch["row"].to_pylist())
            for row, pair in zip(rows, texts, strict=True):
                if row in kept:
                    counts.add(pair, seen, train)
                else:
                    counts.skip(row, Unusable.NO_TOKENS)
            writer.write_batch(batch)
            counts.pairs += batch.num_rows
            counts.truncated_pairs += truncated
            for name in ("prompt", "chosen", "rejected"):
                lengths = pc.sum(pc.list_value_length(batch[f"{name}_ids"])).as_py() or 0
                setattr(
                    counts,
                    f"{name}_tokens",
                    getattr(counts, f"{name}_tokens") + lengths,
                )
            progress.update(batch.num_rows)
    if not counts.pairs:
        raise InputError(
            f"{raw}: none of its {counts.rows_read} rows gives a usable pair ({counts.describe()})"
            "; each needs a prompt that both dialogues share, then two responses that are not "
            "empty; check data.source"
        )
    return counts


def _open(raw: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(raw, page_checksum_verification=True)
    except UNREADABLE as error:
        raise damaged(raw, error) from None


def _chunks(
    usable: Iterator[tuple[int, Pair]], counts: Counts, wanted: int | None
) -> Iterator[tuple[list[int], list[Pair]]]:
    """Usable pairs with their row numbers, in chunks, until as many as wanted are written."""
    while wanted is None or counts.pairs < wanted:
        limit = BATCH_ROWS if wanted is None else min(BATCH_ROWS, wanted - counts.pairs)
        chunk = list(islice(usable, limit))
        if not chunk:
            return
        yield [row for row, _ in chunk], [pair for _, pair in chunk]


def _usable(raw: Path, file: pq.ParquetFile, counts: Counts) -> Iterator[tuple[int, Pair]]:
    # Group by group, each whole before its rows are used: the reader fills a column up from the
    # next group where damage has hidden values, and the end may never be read.
    for number in range(file.num_row_groups):
        try:
            group = file.read_row_group(number, columns=RAW.names)
            group.validate()
            require_all(file.metadata.row_group(number), group.num_rows)
        except UNREADABLE as error:
            raise damaged(raw, error) from None
        for chosen, rejected in zip(*(column.to_pylist() for column in group.columns), strict=True):
            row = counts.rows_read
            counts.rows_read += 1
            found = split(chosen, rejected)
            if isinstance(found, Unusable):
                counts.skip(row, found)
            else:
                yield row, found
