"""Mixtures: rows of several sources in one order that depends on nothing but what is asked for."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from preference.core.data_params import Source
from preference.core.errors import InputError

RawRow = dict[str, Any]


def mixed(
    sources: Sequence[Source], split: str, read: Callable[[Source], Iterator[RawRow]]
) -> Iterator[RawRow]:
    """The rows that are wanted of each source, spread evenly over all.

    So the first N rows have each source in its part of the whole. Of a source with a `share`, every
    so many-th row is taken, of one with a `cap` the first of these; a cap is of training rows.

    Args:
        read: the raw rows of a source, in its order; it is asked twice.

    Raises:
        InputError: nothing is left of a source.
    """
    parts = []
    for number, source in enumerate(sources):
        count = sum(1 for _ in _wanted(source, split, read(source)))
        if not count:
            raise InputError(
                f"params.yaml: data.source: {source.title}: nothing is left of its {split} rows"
            )
        rows = enumerate(_wanted(source, split, read(source)))
        parts.append(_placed(rows, count, number, source.title))
    return (row for _, _, row in heapq.merge(*parts, key=lambda placed: placed[:2]))


def _wanted(source: Source, split: str, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    share = source.share
    taken = (r for n, r in enumerate(rows) if int((n + 1) * share) > int(n * share))
    return islice(taken, source.cap if split == "train" else None)


def _placed(
    rows: Iterator[tuple[int, RawRow]], count: int, number: int, title: str
) -> Iterator[tuple[float, int, RawRow]]:
    for place, row in rows:
        yield (place + 0.5) / count, number, {**row, "source": title}
