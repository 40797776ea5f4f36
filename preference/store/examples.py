"""Prompts and the responses to them as token ids: what a split is, mapped from disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from preference.store import mapped
from preference.store.index import Index, blocks, parts, said_of
from preference.store.mapped import Arrays
from preference.store.tables import END, PREPARED, SOURCE, TEMPLATE


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is `values[starts[i]:starts[i] + lengths[i]]`."""

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        start = self.starts[index]
        return self.values[start : start + self.lengths[index]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @staticmethod
    def of(values: np.ndarray, lengths: np.ndarray) -> "Ragged":
        """Rows of these lengths, one after the other."""
        return Ragged(values, np.cumsum(lengths, dtype=np.int64) - lengths, lengths)

    @staticmethod
    def even(rows: np.ndarray) -> "Ragged":
        """Rows of one length, (rows, length)."""
        return Ragged.of(rows.reshape(-1), np.full(len(rows), rows.shape[1]))


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
    answers: Ragged = field(default_factory=lambda: Ragged.of(*np.zeros((2, 0), int)))
    public: np.ndarray | None = None
    beyond: float = 1.0

    @property
    def largest_id(self) -> int:
        """The largest token id."""
        # Both may be parts of one array.
        values = {id(rows.values): rows.values for rows in (self.prompts, self.responses)}
        return int(max(part.max(initial=0) for part in values.values()))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each response's sequence, the prompt included, (responses,)."""
        return self.prompt_tokens + self.responses.lengths

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt and response together."""
        kept, own = self.prompt_tokens, self.responses.lengths
        return int(max((kept[b] + own[b]).max(initial=0) for b in blocks(len(own))))


def read(path: Path) -> Examples:
    """Read prepared prompts and responses, without their texts; they cannot be written to.

    Raises:
        InputError: there is no such table of `tables.PREPARED`, or it is damaged.
    """
    found = mapped.arrays(path, _parts)
    said = said_of(found)
    return Examples(
        Index.of_arrays(found),
        _rows(found, "prompt", "ids"),
        _rows(found, "response", "ids"),
        found["prompt_tokens"],
        said.get(SOURCE),
        said.get(TEMPLATE, "none"),
        int(said[END]) if END in said else None,
        _rows(found, "answer", "answers"),
    )


def _parts(path: Path) -> Iterator[Arrays]:
    names = ["prompt_ids", "response_ids", "prompt_tokens", "answers"]
    ids = answered = 0
    for arrays, found in parts(path, PREPARED, names):
        (prompt_lengths, prompts), (_, lengths, responses), (_, kept), (counts, answers) = (
            found[name] for name in names
        )
        yield (
            arrays
            | {"ids": np.append(prompts, responses), "prompt_tokens": kept, "answers": answers}
            | _places("prompt", prompt_lengths, ids)
            | _places("response", lengths, ids + len(prompts))
            | _places("answer", counts, answered)
        )
        ids, answered = ids + len(prompts) + len(responses), answered + len(answers)


def _places(name: str, lengths: np.ndarray, first: int) -> Arrays:
    """Where rows stand that come one after the other from `first` on, by names for `_rows`."""
    starts = Ragged.of(lengths, lengths).starts + first
    return {f"{name}_starts": starts, f"{name}_lengths": lengths}


def _rows(found: Arrays, name: str, values: str) -> Ragged:
    return Ragged(found[values], found[f"{name}_starts"], found[f"{name}_lengths"])
