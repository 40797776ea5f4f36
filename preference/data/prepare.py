"""From a raw split to prepared prompts, responses and pairs."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from preference.core.data_params import Data
from preference.core.errors import InputError, first_line
from preference.core.progress import bar
from preference.data.counts import Counts
from preference.data.encoding import Encoder
from preference.data.formats import conversations, registry
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import Seen
from preference.store.tables import (
    END,
    FORMAT,
    PREPARED,
    RAW_OF_PAIRS,
    SOURCE,
    TEMPLATE,
    UNREADABLE,
    damaged,
    extended,
    require_all,
    writing,
)

BATCH_ROWS = 4_000


class RawTable:
    """A raw split, to be read as examples.

    Raises:
        InputError: there is none, or it is damaged.
    """

    def __init__(self, path: Path, settings: Data) -> None:
        if not path.exists():
            raise InputError(
                f"{path}: no such file; run the stage that makes it: dvc repro fetch-data"
            )
        self.path, self._settings = path, settings
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except UNREADABLE as error:
            raise damaged(path, error) from None
        self._format = registry.of(self._file.schema_arrow, path)
        metadata = self._file.schema_arrow.metadata or {}
        self.rows = self._file.metadata.num_rows
        self.source = metadata.get(SOURCE.encode(), b"unknown").decode()
        self.format = metadata.get(FORMAT.encode(), b"unknown").decode()
        self.reasons: tuple[Unusable, ...] = self._format.REASONS

    @property
    def of_pairs(self) -> set[str]:
        """Which columns of `tables.OF_PAIRS` its examples fill."""
        names = self._file.schema_arrow.names
        found = {f"{name}s" for name in RAW_OF_PAIRS if name in names}
        ranked = "ranked" in self.format and self._settings.rankings.margin == "scores"
        return found | {"margins"} if ranked else found

    @property
    def template(self) -> str:
        """The one that goes with it: messages want the model's own, texts are laid out already."""
        if self._format is not conversations:
            return "hh"
        good = (example for _, example in self.examples() if isinstance(example, Example))
        first = next(good, None)
        return "chat" if first and first.text is None else "none"

    def examples(self) -> Iterator[tuple[int, Example | Unusable]]:
        """Each row's number, and the example that it gives or why it gives none."""
        for row, values in enumerate(self._values()):
            try:
                if self._format is conversations:
                    found = conversations.read(values, self._settings.rankings)
                else:
                    found = self._format.read(values)
                if isinstance(found, Example):
                    found = found._replace(source=values.get("source"))
                yield row, found
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{self.path}, row {row}: {first_line(error)}; mend it") from None

    def _values(self) -> Iterator[dict[str, Any]]:
        # Group by group, each whole before its rows are used: the reader fills a column up from the
        # next group where damage has hidden values, and the end may never be read.
        names, file = self._file.schema_arrow.names, self._file
        for number in range(file.num_row_groups):
            try:
                group = file.read_row_group(number, columns=names)
                group.validate()
                require_all(file.metadata.row_group(number), group.num_rows)
            except UNREADABLE as error:
                raise damaged(self.path, error) from None
            columns = (column.to_pylist() for column in group.columns)
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))


def require_one_template(tables: Iterable[RawTable], settings: Data) -> str:
    """The template that goes with all splits.

    Raises:
        InputError: they are laid out in different ways, and params do not say in which one.
    """
    found = {table.path: table.template for table in tables}
    if settings.template == "auto" and len(set(found.values())) > 1:
        said = ", ".join(f"{path}: {name}" for path, name in found.items())
        raise InputError(
            f"params.yaml: data.template: auto lays out the splits in different ways ({said}), so "
            "that one would be trained on and another tested; set it to the one that is meant"
        )
    return next(iter(found.values()))


def prepare(
    table: RawTable,
    out: Path,
    encoder: Encoder,
    *,
    wanted: int | None,
    seen: Seen,
    train: Seen | None = None,
    judge: Callable[[Example], Unusable | bool] = lambda example: True,
) -> Counts:
    """Write the first usable examples of a raw split as a table of `tables.PREPARED`.

    Args:
        encoder: lays out, tokenizes and cuts.
        wanted: how many pairs (and labelled responses) to take; None takes all.
        seen: takes in what the split holds.
        train: what the training split holds, to compare with.
        judge: whether an example belongs to the split, or why it is not to be used.

    Raises:
        InputError: no row gives an example, or one cannot be read.
    """
    metadata = {
        SOURCE: table.source,
        FORMAT: table.format,
        TEMPLATE: encoder.template.name,
        END: str(encoder.end),
    }
    schema = extended(PREPARED, table.of_pairs)
    counts = Counts(table.format, encoder.template.name)
    counts.skipped = {reason.value: 0 for reason in (*table.reasons, Unusable.NO_TOKENS)}
    with (
        writing(out, schema.with_metadata(metadata)) as writer,
        bar(f"prepare {out.stem}", wanted or table.rows, "examples") as progress,
    ):
        for rows, examples in _chunks(_usable(table, counts, judge), counts, wanted):
            encoded = encoder.encode(rows, examples, schema)
            for row, example, reason in zip(rows, examples, encoded.dropped, strict=True):
                if reason:
                    counts.skip(row, reason)
                else:
                    counts.look_at(example)
                    seen.add(example)
            writer.write_batch(encoded.batch)
            before = counts.examples
            counts.measure(encoded)
            progress.update(counts.examples - before)
    if not counts.examples:
        refusal = f"; the chat template says: {encoder.refusal}" if encoder.refusal else ""
        raise InputError(
            f"{table.path}: none of its {counts.rows_read} rows gives a usable example "
            f"({counts.describe()}{refusal}); each needs a prompt, and responses that are not "
            "empty; check data.source"
        )
    counts.compare(seen, train)
    if encoder.settings.format == "auto":
        counts.require_prompts(table.path)
    return counts


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
    table: RawTable, counts: Counts, judge: Callable[[Example], Unusable | bool]
) -> Iterator[tuple[int, Example]]:
    for row, example in table.examples():
        counts.rows_read += 1
        found = example if isinstance(example, Unusable) else judge(example)
        if isinstance(found, Unusable):
            counts.skip(row, found)
        elif found:
            assert isinstance(example, Example)
            yield row, example
