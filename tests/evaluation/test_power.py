"""How many seeds and items a difference needs: by simulation, and at the borders."""

import math
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from preference.evaluation.crossed import Items, Spread, estimate
from preference.evaluation.power import (
    POWER,
    items_needed,
    of_two_alike,
    power,
    seeds_needed,
)

SPREAD = Spread(5, 0.01**2, (Items(400, 0.05, 0.2),))


def found_in(spread: Spread, difference: float, draws: int = 10_000) -> float:
    """How often a true difference is found, in draws of all seeds and items."""
    generator, ((count, item, rest),) = (
        np.random.default_rng(0),
        [(kind.count, kind.item, kind.rest) for kind in spread.items],
    )
    values = (
        difference
        + math.sqrt(spread.seed) * generator.standard_normal((draws, spread.seeds, 1))
        + math.sqrt(item) * generator.standard_normal((draws, 1, count))
        + math.sqrt(rest) * generator.standard_normal((draws, spread.seeds, count))
    )
    found = estimate([values])
    return float(np.mean(np.abs(found.value) > found.spread.half_width()))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("difference", [0.03, 0.06])
def test_power_is_what_simulation_finds(seeds: int, difference: float) -> None:
    small = Spread(seeds, SPREAD.seed, (Items(100, 0.05, 0.2),))
    assert power(small, difference) == pytest.approx(found_in(small, difference), abs=0.02)


def test_what_is_needed_is_the_least_that_suffices() -> None:
    items, seeds = items_needed(SPREAD, 0.04, 5), seeds_needed(SPREAD, 0.04)
    assert items is not None
    assert seeds is not None

    def of(seeds: int, items: int) -> float:
        return power(Spread(seeds, SPREAD.seed, (Items(items, 0.05, 0.2),)), 0.04)

    assert of(5, items - 1) < POWER <= of(5, items)
    assert of(seeds - 1, 400) < POWER <= of(seeds, 400)
    enough = Spread(5, SPREAD.seed, (Items(items, 0.05, 0.2),))
    assert found_in(enough, 0.04, draws=3000) == pytest.approx(POWER, abs=0.03)


def test_where_only_pairs_vary_it_is_the_paired_t_test() -> None:
    spread = Spread(5, 0.0, (Items(100, 0.09, 0.0),))
    known = TTestPower().solve_power(effect_size=0.05 / 0.3, alpha=0.05, power=POWER)
    assert items_needed(spread, 0.05, 5) == pytest.approx(known, rel=0.01)


def test_what_no_number_shows() -> None:
    # Seeds alone have a standard error of 0.02 here; items alone one of 0.02 there.
    assert items_needed(Spread(3, 0.0012, (Items(100, 0.0, 0.1),)), 0.02, 3) is None
    assert seeds_needed(Spread(3, 0.0, (Items(100, 0.04, 0.1),)), 0.02) is None
    assert power(Spread(3, 0.0, (Items(5, 0.0, 0.0),)), 0.02) == 1
    assert power(Spread(3, 0.0, (Items(5, 0.0, 0.0),)), 0.0) == 0


def test_kinds_of_items_grow_in_their_shares() -> None:
    two = Spread(5, 0.0, (Items(100, 0.09, 0.0), Items(300, 0.27, 0.0)))
    # Either gives half of the variance; with as many of each, all of one: 4 x (100 of variance
    # 0.09) is what 400 of 0.36 are.
    one = Spread(5, 0.0, (Items(400, 0.72, 0.0),))
    needed, alone = items_needed(two, 0.05, 5), items_needed(one, 0.05, 5)
    assert needed is not None
    assert needed == pytest.approx(alone, rel=0.01)


def test_two_that_vary_alike() -> None:
    """The difference of two by hand, on items that are as hard for both."""
    assert of_two_alike(SPREAD) == replace(
        SPREAD, seed=2 * SPREAD.seed, items=(Items(400, 0.0, 0.4),)
    )
