"""Prompts, the responses to them, and pairs of these: what a split is, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from preference.store.tables import END, INDEX, PREPARED, SOURCE, TEMPLATE, lists, read_flat


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one array: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @staticmethod
    def of(values: np.ndarray, lengths: np.ndarray) -> "Ragged":
        """Rows of these lengths, one after the other."""
        return Ragged(values, np.append(0, np.cumsum(lengths, dtype=np.int64)))


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

    def by_label(self) -> tuple[np.ndarray, np.ndarray]:
        """The desirable and the undesirable responses.

        Those are the two sides of every pair, in the pairs' order, then the labelled responses
        that are in no pair.
        """
        single = np.ones(len(self.prompt_of), dtype=bool)
        single[self.pairs] = False
        desirable, undesirable = (
            np.append(self.pairs[:, side], np.flatnonzero(single & (self.labels == label)))
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

    @staticmethod
    def of_columns(found: dict[str, list[np.ndarray]]) -> "Index":
        """From the columns of `tables.INDEX`, as `tables.read_flat` gives them."""
        ((rows,), (counts, labels), (_, weights)) = (found[n] for n in ("row", "labels", "weights"))
        in_pairs, chosen = found["chosen"]
        first = np.repeat(np.cumsum(counts) - counts, in_pairs)
        pairs = np.stack([chosen + first, found["rejected"][1] + first], axis=1)
        weights = np.where(np.isnan(weights), np.float32(1), weights)
        (sources,) = found["source"]
        known = None if all(source is None for source in sources) else sources
        prompt_of = np.repeat(np.arange(len(rows)), counts)
        of_pairs = _given(found, "pair_weights", 1), _given(found, "margins", 0)
        return Index(rows, prompt_of, pairs, labels, weights, known, *of_pairs)


def _given(found: dict[str, list[np.ndarray]], name: str, null: float) -> np.ndarray | None:
    """A column of `tables.OF_PAIRS`, its nulls replaced; None where it has nothing else."""
    values = found[name][1] if name in found else np.zeros(0)
    unknown = np.isnan(values)
    return None if unknown.all() else np.where(unknown, np.float32(null), values)


@dataclass(frozen=True)
class Examples:
    """The prepared prompts and responses of one split, in file order.

    Attributes:
        prompts: token ids, as much of each as the response that keeps most of it needs.
        responses: token ids.
        prompt_tokens: (responses,); a response's sequence is so many of its prompt's last tokens,
            then the response.
        source: where the texts come from, where that is known.
        template: how turns are laid out: `none`, `hh` or `chat`.
        end: the token that ends an answer, where that is known.
        answers: the assistant's earlier ones by prompt, as `tables.PREPARED` has them.
        public: (responses,); how many first tokens of each count whole; None: all of them.
        beyond: how much the other tokens count.
    """

    index: Index
    prompts: Ragged
    responses: Ragged
    prompt_tokens: np.ndarray
    source: str | None = None
    template: str = "none"
    end: int | None = None
    answers: Ragged = field(default_factory=lambda: Ragged(np.zeros(0, int), np.zeros(1, int)))
    public: np.ndarray | None = None
    beyond: float = 1.0

    @property
    def largest_id(self) -> int:
        """The largest token id."""
        return int(max(part.values.max(initial=0) for part in (self.prompts, self.responses)))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each response's sequence, the prompt included, (responses,)."""
        return self.prompt_tokens + self.responses.lengths

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt and response together."""
        return int(self.lengths.max(initial=0))


def read(path: Path) -> Examples:
    """Read prepared prompts and responses, without their texts.

    Raises:
        InputError: there is no such table of `tables.PREPARED`, or it is damaged.
    """
    names = ["prompt_ids", "response_ids", "prompt_tokens", "answers"]
    found, metadata = read_flat(path, PREPARED, [*INDEX, *names])
    (prompt_lengths, prompts), (_, lengths, responses), (_, kept), (count, answers) = (
        found[name] for name in names
    )
    return Examples(
        Index.of_columns(found),
        Ragged.of(prompts, prompt_lengths),
        Ragged.of(responses, lengths),
        kept,
        metadata.get(SOURCE),
        metadata.get(TEMPLATE, "none"),
        int(metadata[END]) if END in metadata else None,
        Ragged.of(answers, count),
    )
