"""How many seeds, and how many test items, would show a difference."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import stats

from preference.evaluation.crossed import Items, Spread

POWER = 0.8
MOST_ITEMS, MOST_SEEDS = 10**7, 10**4  # beyond, nobody has them
GRID = (np.arange(400) + 0.5) / 400


def power(spread: Spread, difference: float) -> float:
    """The chance that a true difference is found at the 5% level, with these seeds and items.

    The test is that of `Crossed.difference`. What it estimates of the seeds varies with their
    number as chi-squared does, which is integrated over; the many items are taken as known.
    """
    seeds, of_items = spread.seeds, spread.of_items
    both = sum(kind.rest / kind.count for kind in spread.items)
    variance = spread.seed / seeds + sum(of_items)
    if variance == 0:
        return float(difference != 0)
    chances = stats.chi2.ppf(GRID, seeds - 1) / (seeds - 1)
    estimated = np.maximum((spread.seed + both) * chances - both, 0)
    half, error = replace(spread, seed=estimated).half_width(), np.sqrt(variance)
    found = stats.norm.sf((half - difference) / error) + stats.norm.cdf(
        (-half - difference) / error
    )
    return float(np.mean(found))


def items_needed(spread: Spread, difference: float, seeds: int) -> int | None:
    """Fewest items, all kinds together in their shares, that find it in 80% of cases.

    None where no number of items does: the seeds alone vary too much.
    """
    now = sum(kind.count for kind in spread.items)

    def enough(items: int) -> bool:
        kinds = [replace(k, count=max(2, round(k.count * items / now))) for k in spread.items]
        return power(Spread(seeds, spread.seed, tuple(kinds)), difference) >= POWER

    return _least(enough, 2 * len(spread.items), MOST_ITEMS)


def seeds_needed(spread: Spread, difference: float) -> int | None:
    """Fewest seeds that find it in 80% of cases on the items that there are; None: no number."""
    return _least(
        lambda seeds: power(replace(spread, seeds=seeds), difference) >= POWER, 2, MOST_SEEDS
    )


def of_two_alike(spread: Spread) -> Spread:
    """That of the difference of two variants which vary as one does, each by itself.

    Both meet the same items, which are as hard for the one as for the other.
    """
    kinds = tuple(Items(kind.count, 0.0, 2 * kind.rest) for kind in spread.items)
    return Spread(spread.seeds, 2 * spread.seed, kinds)


def _least(enough: Callable[[int], bool], low: int, most: int) -> int | None:
    """The smallest number that is enough, from `low` on, where every larger one is, too."""
    high = low
    while not enough(high):
        if high >= most:
            return None
        low, high = high + 1, min(2 * high, most)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
