"""Kinds of pairs: by which response is longer, by turns, by source; none too small to tell."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# Wilson's interval of 10 in 20 is from 0.30 to 0.70; of fewer pairs it is hardly one.
LEAST = 20

Span = tuple[int, float]  # whole numbers, both ends included


@dataclass(frozen=True)
class Groups:
    """Kinds of pairs.

    Attributes:
        kinds: what each is called, and (pairs,) booleans of what is in it.
        note: what was done with kinds of too few pairs; empty where there are none.
    """

    kinds: list[tuple[str, np.ndarray]]
    note: str


def by_length(difference: np.ndarray, least: int = LEAST) -> Groups:
    """Pairs by which response is longer and by how much, in up to seven groups.

    The borders are the terciles of the absolute difference. Neighbours on one side are joined until
    they have `least` pairs; a side, or the pairs of equal length, with fewer is left out.

    Args:
        difference: tokens of chosen minus tokens of rejected, (pairs,).

    Returns:
        From the chosen response much shorter to much longer.
    """
    sizes = np.abs(difference[difference != 0])
    thirds = np.quantile(sizes, [1 / 3, 2 / 3], method="inverted_cdf") if len(sizes) else []
    starts = [1, *sorted({int(third) + 1 for third in thirds})]
    spans = [(a, b - 1) for a, b in zip(starts, [*starts[1:], math.inf], strict=True)]
    (shorter, fewer), (longer, joined) = (
        _joined(side * difference, spans, least) for side in (-1, 1)
    )
    kinds = [
        *((f"{_words(span)} shorter", _inside(-difference, span)) for span in reversed(shorter)),
        ("equal", difference == 0),
        *((f"{_words(span)} longer", _inside(difference, span)) for span in longer),
    ]
    return _told(kinds, least, joined=fewer or joined)


def by_turns(turns: np.ndarray, most: int = 6, least: int = LEAST) -> Groups:
    """Pairs by the number of the human's turns in the prompt; the last group takes the rest.

    Args:
        turns: (pairs,).
        least: neighbours are joined until they have so many pairs.
    """
    spans: list[Span] = [(n, n) for n in range(most)]
    found, joined = _joined(turns, [*spans, (most, math.inf)], least)
    return _told([(_words(span), _inside(turns, span)) for span in found], least, joined=joined)


def by_source(sources: Mapping[str, np.ndarray], least: int = LEAST) -> Groups:
    """Pairs by where they come from, (pairs,) booleans each; sources of fewer are left out."""
    return _told(list(sources.items()), least, joined=False)


def _joined(values: np.ndarray, spans: list[Span], least: int) -> tuple[list[Span], bool]:
    """Spans in which something is, neighbours joined until each has so many; whether any were."""
    there = [span for span in spans if _inside(values, span).any()]
    found: list[Span] = []
    for low, high in there:
        # What has too few takes its neighbour in.
        begun = bool(found) and _inside(values, found[-1]).sum() < least
        found[-1:] = [(found[-1][0], high)] if begun else [*found[-1:], (low, high)]
    if len(found) > 1 and _inside(values, found[-1]).sum() < least:
        found[-2:] = [(found[-2][0], found[-1][1])]
    return found, len(found) < len(there)


def _told(kinds: list[tuple[str, np.ndarray]], least: int, *, joined: bool) -> Groups:
    """Without kinds of too few pairs."""
    small = sum(int(inside.sum()) for _, inside in kinds if inside.sum() < least)

    def notes() -> Iterator[str]:
        if joined:
            yield f"neighbouring groups of fewer than {least} pairs joined"
        if small:
            yield f"left out: {small:,} pairs in groups of fewer than {least}"

    return Groups([kind for kind in kinds if kind[1].sum() >= least], "; ".join(notes()))


def _inside(values: np.ndarray, span: Span) -> np.ndarray:
    return (values >= span[0]) & (values <= span[1])


def _words(span: Span) -> str:
    low, high = span
    if high == math.inf:
        return f"{low}+"
    return str(low) if low == high else f"{low} to {high}"
