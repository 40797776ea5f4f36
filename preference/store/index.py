"""Which responses a split has, to which prompts and in which pairs; orders of such things."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from preference.store import tables
from preference.store.mapped import Arrays
from preference.store.tables import INDEX, lists

BLOCK = 2**16  # rows that are looked at together, so that what that takes does not grow with them
# What pairs have of which the data do not say it, in columns of `tables.OF_PAIRS`.
UNSAID = {"pair_weights": 1.0, "margins": 0.0}


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Parts of so many rows, the last of which may be smaller; of no rows one that is empty."""
    return (slice(start, min(start + size, count)) for start in range(0, max(1, count), size))


def numbers(count: int) -> np.dtype:
    """The smallest type that has a number for each of so many."""
    return np.dtype(np.int32 if count < 2**31 else np.int64)


def shuffled(count: int, *seed: int) -> np.ndarray:
    """The numbers below `count` in an order that a seed draws: numpy's `permutation`, in less."""
    order = np.arange(count, dtype=numbers(count))
    np.random.default_rng(seed).shuffle(order)
    return order


@dataclass(frozen=True)
class Index:
    """Which responses there are: to which prompt, in which pairs, with what label.

    Ids and scores of one split have this in common. The responses to a prompt stand together.

    Attributes:
        rows: (prompts,); the place of each in the raw table.
        prompt_of: (responses,); the prompt that each answers.
        pairs: (pairs, 2); the responses chosen and rejected.
        labels: (responses,); 1 desirable, 0 undesirable, -1 where the data do not say.
        weights: (responses,); how much each counts where responses are trained on one by one.
        sources: (prompts,); titles of where each comes from; None where there is one source.
        pair_weights: (pairs,); how much each counts in training; None where the data do not say.
        margins: (pairs,); by how much the chosen reward is to be ahead; None likewise.
    """

    rows: np.ndarray
    prompt_of: np.ndarray
    pairs: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    sources: np.ndarray | None = None
    pair_weights: np.ndarray | None = None
    margins: np.ndarray | None = None

    @property
    def pair_rows(self) -> np.ndarray:
        """The row of the raw table that each pair comes from, (pairs,)."""
        return self.rows[self.prompt_of[self.pairs[:, 0]]]

    def by_source(self) -> dict[str, np.ndarray]:
        """Which pairs come from each source, (pairs,) booleans; nothing where there is one."""
        if self.sources is None:
            return {}
        of_pairs = self.sources[self.prompt_of[self.pairs[:, 0]]]
        return {title: of_pairs == title for title in sorted(set(self.sources))}

    @property
    def single(self) -> np.ndarray:
        """The labelled responses that are in no pair."""
        alone = self.labels >= 0
        alone[self.pairs] = False
        return np.flatnonzero(alone)

    @property
    def desirable(self) -> np.ndarray:
        """The desirable responses: those that a pair prefers, and labelled ones that are in none.

        Each once, in their order.
        """
        wanted = self.labels == 1
        wanted[self.pairs] = False
        wanted[self.pairs[:, 0]] = True
        kind = numbers(len(wanted))
        found = [(np.flatnonzero(wanted[b]) + b.start).astype(kind) for b in blocks(len(wanted))]
        return np.concatenate(found)

    def by_label(self) -> tuple[np.ndarray, np.ndarray]:
        """The desirable and the undesirable responses.

        Those are the two sides of every pair, in the pairs' order, then the labelled responses
        that are in no pair.
        """
        single = self.single
        desirable, undesirable = (
            np.append(self.pairs[:, side], single[self.labels[single] == label])
            for side, label in ((0, 1), (1, 0))
        )
        return desirable, undesirable

    def same_as(self, other: "Index") -> bool:
        """Whether both are of the same responses."""
        return all(np.array_equal(part, getattr(other, name)) for name, part in vars(self).items())

    @property
    def counts(self) -> np.ndarray:
        """How many responses each prompt has, (prompts,)."""
        return np.bincount(self.prompt_of, minlength=len(self.rows))

    def columns(self) -> dict[str, pa.Array]:
        """As `tables.INDEX` has it, and those of `tables.OF_PAIRS` that there are."""
        counts = self.counts
        prompts = self.prompt_of[self.pairs[:, 0]]
        places = self.pairs - (np.cumsum(counts) - counts)[prompts, None]
        sides = [pa.array(side, pa.int32()) for side in places.T]
        in_pairs = np.bincount(prompts, minlength=len(self.rows))
        of_pairs = {"pair_weights": self.pair_weights, "margins": self.margins}
        return {
            "row": pa.array(self.rows, pa.int64()),
            "source": pa.nulls(len(self.rows), pa.string())
            if self.sources is None
            else pa.array(self.sources, pa.string()),
            "labels": lists(pa.array(self.labels == 1, mask=self.labels < 0), counts),
            "weights": lists(pa.array(self.weights, pa.float32()), counts),
            "chosen": lists(sides[0], in_pairs),
            "rejected": lists(sides[1], in_pairs),
        } | {
            name: lists(pa.array(values, pa.float32()), in_pairs)
            for name, values in of_pairs.items()
            if values is not None
        }

    def part(self, prompts: slice) -> tuple["Index", slice]:
        """That of some prompts by themselves, and which responses are theirs."""
        start, stop = prompts.start, prompts.stop
        responses = slice(*np.searchsorted(self.prompt_of, [start, stop]).tolist())
        first, last = (
            bisect_left(range(len(self.pairs)), end, key=lambda n: self.prompt_of[self.pairs[n, 0]])
            for end in (start, stop)
        )
        pairs = slice(first, last)
        of_pairs = (self.pair_weights, self.margins)
        index = Index(
            self.rows[prompts],
            self.prompt_of[responses] - start,
            self.pairs[pairs] - responses.start,
            self.labels[responses],
            self.weights[responses],
            None if self.sources is None else self.sources[prompts],
            *(None if values is None else values[pairs] for values in of_pairs),
        )
        return index, responses

    @staticmethod
    def of_columns(found: dict[str, list[np.ndarray]]) -> "Index":
        """From the columns of `tables.INDEX`, as `tables.flat` gives them."""
        ((rows,), (counts, labels), (_, weights)) = (found[n] for n in ("row", "labels", "weights"))
        in_pairs, chosen = found["chosen"]
        first = np.repeat(np.cumsum(counts) - counts, in_pairs)
        pairs = np.stack([chosen + first, found["rejected"][1] + first], axis=1)
        weights = np.where(np.isnan(weights), np.float32(1), weights)
        (sources,) = found["source"]
        known = None if all(source is None for source in sources) else sources
        prompt_of = np.repeat(np.arange(len(rows)), counts)
        of_pairs = (_given(found, name, null) for name, null in UNSAID.items())
        return Index(rows, prompt_of, pairs, labels, weights, known, *of_pairs)

    @staticmethod
    def of_arrays(found: Arrays) -> "Index":
        """From what `parts` gives of a table."""
        of_pairs = [name for n, name in enumerate(UNSAID) if found["known"][:, n].any()]
        names = ["rows", "prompt_of", "pairs", "labels", "weights", *of_pairs]
        titles = _of_bytes(found["titles"])
        sources = np.array(titles, object)[found["sources"]] if any(titles) else None
        return Index(**{name: found[name] for name in names}, sources=sources)


def _given(found: dict[str, list[np.ndarray]], name: str, null: float) -> np.ndarray | None:
    """A column of `tables.OF_PAIRS`, its nulls replaced; None where it has nothing else."""
    values = found[name][1] if name in found else np.zeros(0)
    unknown = np.isnan(values)
    return None if unknown.all() else np.where(unknown, np.float32(null), values)


def parts(
    path: Path, schema: pa.Schema, names: list[str]
) -> Iterator[tuple[Arrays, dict[str, list[np.ndarray]]]]:
    """A table's index as `Index.of_arrays` takes it, and other columns, a row group at a time.

    What the table says of itself, and titles, are with it as JSON (see `said_of`).

    Raises:
        InputError: as `tables.groups`.
    """
    prompts = responses = 0
    titles: dict[str | None, int] = {}
    said = _as_bytes([tables.metadata(path, schema)])
    for found in tables.groups(path, schema, [*INDEX, *names]):
        index, known = Index.of_columns(found), len(titles)
        sources = [None] * len(index.rows) if index.sources is None else index.sources
        arrays: Arrays = {
            "rows": index.rows,
            "prompt_of": index.prompt_of + prompts,
            "pairs": index.pairs + responses,
            "labels": index.labels,
            "weights": index.weights,
            "sources": np.array([titles.setdefault(s, len(titles)) for s in sources], np.int32),
            "titles": _as_bytes(list(titles)[known:]),
            "said": said,
            "known": np.array([[getattr(index, name) is not None for name in UNSAID]]),
        }
        for name, null in UNSAID.items():
            values = getattr(index, name)
            unsaid = np.full(len(index.pairs), null, np.float32)
            arrays[name] = unsaid if values is None else values
        yield arrays, found
        prompts, responses = prompts + len(index.rows), responses + len(index.labels)
        said = said[:0]


def said_of(found: Arrays) -> dict[str, str]:
    """The metadata of the table that arrays are of."""
    return _of_bytes(found["said"])[0]


def _as_bytes(values: Iterable[Any]) -> np.ndarray:
    return np.frombuffer(b"".join(json.dumps(v).encode() + b"\n" for v in values), np.uint8)


def _of_bytes(lines: np.ndarray) -> list[Any]:
    return [json.loads(line) for line in lines.tobytes().splitlines()]
