"""From a raw split to prepared prompts, responses and pairs."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq

from preference.core.errors import InputError, first_line
from preference.core.progress import bar
from preference.data import tokens
from preference.data.formats import registry
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import Seen
from preference.store.examples import Index
from preference.store.tables import (
    INDEX,
    PREPARED,
    UNREADABLE,
    damaged,
    flat,
    require_all,
    writing,
)

BATCH_ROWS = 4_000
SKIPPED_ROWS_NAMED = 20


@dataclass
class Counts:
    """What became of one split; tokens are as kept, EOS included.

    `truncated_pairs` lost tokens of the prompt, or of a response, to `max_length`;
    `skipped_rows` names the first skipped rows of the source. `labelled_responses` are in no pair.
    `identical_responses` counts pairs that prefer a text to itself, `duplicates` rows that came
    before; both stay in. The last two count rows whose prompt, and of which a whole dialogue,
    stands in the training split, too.
    """

    rows_read: int = 0
    pairs: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_rows: list[int] = field(default_factory=list)
    truncated_pairs: int = 0
    prompt_tokens: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    identical_responses: int = 0
    duplicates: int = 0
    prompts_in_train: int | None = None
    dialogues_in_train: int | None = None
    labelled_responses: int | None = None
    truncated_labelled: int | None = None

    @property
    def examples(self) -> int:
        """What `data.train_pairs` counts: pairs, and labelled responses that are in none."""
        return self.pairs + (self.labelled_responses or 0)

    def compare(self, example: Example, seen: Seen, train: Seen | None) -> None:
        responses = example.responses
        self.identical_responses += sum(responses[a] == responses[b] for a, b in example.pairs)
        self.duplicates += seen.add(example)
        if train is not None:
            self.prompts_in_train = (self.prompts_in_train or 0) + train.has_prompt(example)
            self.dialogues_in_train = (self.dialogues_in_train or 0) + train.has_dialogue(example)

    def measure(self, prepared: tokens.Prepared, limit: int) -> None:
        """Count the tokens of a batch, and what was cut to `limit`."""
        found = flat(prepared.batch, [*INDEX, "prompt_ids", "response_ids"])
        index, (_, lengths, _) = Index.of_columns(found), found["response_ids"]
        long, (chosen, rejected) = prepared.lengths > limit, index.pairs.T
        self.pairs += len(index.pairs)
        self.truncated_pairs += int((long[chosen] | long[rejected]).sum())
        self.prompt_tokens += int(found["prompt_ids"][0].sum())
        self.chosen_tokens += int(lengths[chosen].sum())
        self.rejected_tokens += int(lengths[rejected].sum())
        labelled = np.flatnonzero(index.labels >= 0)
        if len(labelled):
            self.labelled_responses = (self.labelled_responses or 0) + len(labelled)
            self.truncated_labelled = (self.truncated_labelled or 0) + int(long[labelled].sum())

    def skip(self, row: int, reason: Unusable) -> None:
        self.skipped[reason] += 1
        # Rows without tokens are known only after the rest of their batch.
        insort(self.skipped_rows, row)
        del self.skipped_rows[SKIPPED_ROWS_NAMED:]

    def describe(self) -> str:
        reasons = ", ".join(f"{count} {name}" for name, count in self.skipped.items() if count)
        labelled = f" and {self.labelled_responses} labelled responses"
        return (
            f"{self.pairs} pairs{labelled if self.labelled_responses else ''} of {self.rows_read} "
            f"rows read; skipped: {reasons or 'none'}"
        )

    def as_dict(self) -> dict[str, object]:
        """For a metrics file; what was not counted is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def prepare(
    raw: Path,
    out: Path,
    *,
    tokenizer_from: Path,
    max_length: int,
    wanted: int | None,
    seen: Seen | None = None,
    train: Seen | None = None,
) -> Counts:
    """Write the first usable examples of a raw split as a table of `tables.PREPARED`.

    Args:
        raw: a table in one of the `formats`.
        out: the table to write.
        tokenizer_from: directory of the model whose tokenizer is used.
        max_length: tokens that prompt and response may have together.
        wanted: how many pairs (and labelled responses) to take; None takes all.
        seen: takes in what the split holds.
        train: what the training split holds, to compare with.

    Raises:
        InputError: no row gives an example, or one cannot be read.
    """
    if not raw.exists():
        raise InputError(f"{raw}: no such file; run the stage that makes it: dvc repro fetch-data")
    tokenizer, eos_id = tokens.load(tokenizer_from)
    seen = Seen() if seen is None else seen
    with (
        _open(raw) as file,
        writing(out, PREPARED.with_metadata(file.schema_arrow.metadata)) as writer,
        bar(f"prepare {out.stem}", wanted or file.metadata.num_rows, "examples") as progress,
    ):
        found = registry.of(file.schema_arrow, raw)
        counts = Counts(skipped={reason.value: 0 for reason in found.REASONS})
        for rows, examples in _chunks(_usable(raw, file, found, counts), counts, wanted):
            prepared = tokens.prepare(tokenizer, eos_id, max_length, rows, examples)
            for row, example, dropped in zip(rows, examples, prepared.dropped, strict=True):
                if dropped:
                    counts.skip(row, Unusable.NO_TOKENS)
                else:
                    counts.compare(example, seen, train)
            writer.write_batch(prepared.batch)
            before = counts.examples
            counts.measure(prepared, max_length)
            progress.update(counts.examples - before)
    if not counts.examples:
        raise InputError(
            f"{raw}: none of its {counts.rows_read} rows gives a usable example "
            f"({counts.describe()}); each needs a prompt, and responses that are not empty; check "
            "data.source"
        )
    return counts


def _open(raw: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(raw, page_checksum_verification=True)
    except UNREADABLE as error:
        raise damaged(raw, error) from None


def _chunks(
    usable: Iterator[tuple[int, Example]], counts: Counts, wanted: int | None
) -> Iterator[tuple[list[int], list[Example]]]:
    """Usable examples with their row numbers, in chunks, until as many as wanted are written."""
    while wanted is None or counts.examples < wanted:
        left = BATCH_ROWS if wanted is None else min(BATCH_ROWS, wanted - counts.examples)
        rows, examples = [], []
        for row, example in islice(usable, BATCH_ROWS):
            rows.append(row)
            # A ranking gives several pairs: of the last one, as many as are wanted.
            examples.append(example._replace(pairs=example.pairs[:left]))
            left -= len(examples[-1].pairs) or 1
            if left <= 0:
                break
        if not rows:
            return
        yield rows, examples


def _usable(
    raw: Path, file: pq.ParquetFile, found: ModuleType, counts: Counts
) -> Iterator[tuple[int, Example]]:
    # Group by group, each whole before its rows are used: the reader fills a column up from the
    # next group where damage has hidden values, and the end may never be read.
    for number in range(file.num_row_groups):
        try:
            group = file.read_row_group(number, columns=found.SCHEMA.names)
            group.validate()
            require_all(file.metadata.row_group(number), group.num_rows)
        except UNREADABLE as error:
            raise damaged(raw, error) from None
        for values in zip(*(column.to_pylist() for column in group.columns), strict=True):
            row = counts.rows_read
            counts.rows_read += 1
            try:
                example = found.read(*values)
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{raw}, row {row}: {first_line(error)}; mend it") from None
            if isinstance(example, Unusable):
                counts.skip(row, example)
            else:
                yield row, example
