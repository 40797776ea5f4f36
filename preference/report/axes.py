"""From where to where an axis goes: far enough for intervals, and not so close as to show noise."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """An axis of numbers: it holds all values with their intervals, and what stands here.

    Attributes:
        holds: values that it shows in any case.
        least: how wide it is at least, so that noise does not fill it.
        ends: beyond which there are no values.
    """

    title: str
    holds: tuple[float, ...] = ()
    least: float = 0.0
    ends: tuple[float, float] = (-math.inf, math.inf)

    def domain(self, values: Iterable[float]) -> list[float]:
        """Its two ends, for these values; NaN counts for nothing."""
        found = [*self.holds, *(value for value in values if math.isfinite(value))] or [0.0, 1.0]
        first, last = self.ends
        wider = max(0.0, self.least - (max(found) - min(found))) / 2
        low, high = min(found) - wider, max(found) + wider
        low, high = low - max(0.0, high - last), high + max(0.0, first - low)
        return [max(first, low), min(last, high)]


def share(title: str) -> Axis:
    """An axis of shares that shows chance, and two tenths or more."""
    return Axis(title, holds=(0.5,), least=0.2, ends=(0, 1))
