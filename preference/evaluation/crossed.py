"""Several seeds on the same test items: the mean over both, how sure it is, and what varies.

Every seed's model meets every item, so the two are crossed. A value of seed s at item i is
mean + seed_s + item_i + rest_si, and over S seeds and N items the mean's variance is
var(seed) / S + var(item) / N + var(rest) / (S N): the random two-way layout (Searle, Casella and
McCulloch 1992, Variance Components, chapter 4; Owen 2007, Annals of Applied Statistics 1:386).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from preference.evaluation import labelled
from preference.evaluation.intervals import CONFIDENCE
from preference.evaluation.statistics import Difference
from preference.store.scores import Scores, pair_margins

LEAST = 1e-12  # p-values below it count as 0
Value = Any  # a number, or an array of as many results
Part = tuple[Value, float]  # a variance, and the degrees of freedom that it is known to


@dataclass(frozen=True)
class Items:
    """So many test items of one kind, such as pairs.

    Attributes:
        item: variance between items, which all seeds share.
        rest: variance of what is left: each seed's own way with each item.
    """

    count: int
    item: Value
    rest: Value


@dataclass(frozen=True)
class Spread:
    """What makes a mean over seeds and items vary: variances, by what they come from.

    Attributes:
        seed: variance between seeds beyond what the items explain.
        items: kinds of items whose means add up to the value: one of pairs, two of an AUC.
    """

    seeds: int
    seed: Value
    items: tuple[Items, ...]

    @property
    def of_items(self) -> list[Value]:
        """The variance that each kind of item gives the mean."""
        return [(kind.item + kind.rest / self.seeds) / kind.count for kind in self.items]

    @property
    def parts(self) -> list[Part]:
        """What the mean's variance is made of."""
        freedoms = [kind.count - 1 for kind in self.items]
        of_items = list(zip(self.of_items, freedoms, strict=True))
        return [(self.seed / self.seeds, self.seeds - 1), *of_items]

    def half_width(self) -> Value:
        """Half of the mean's 95% interval.

        With three seeds or more it holds 95% in simulations, whether seeds differ or not
        (`test_crossed`).
        """
        return half_width(self.parts)


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and items.

    Attributes:
        over_seeds: standard deviation of the seeds' values, the items' part of it included.
    """

    value: Value
    over_seeds: Value
    spread: Spread

    def difference(self, ends: tuple[float, float] = (-math.inf, math.inf)) -> Difference:
        """The value, its 95% interval within `ends`, and the p-value of its being 0.

        NaN where a single seed, or a single item, tells nothing of what varies.
        """
        half = float(self.spread.half_width())
        low, high = np.clip([self.value - half, self.value + half], *ends).tolist()
        return Difference(float(self.value), low, high, p_value(self.value, self.spread.parts))


def half_width(parts: Sequence[Part], level: float = 1 - CONFIDENCE) -> Value:
    """How far an estimate is from what it estimates with probability `level`, or seldomer.

    The square root of t^2 x variance, summed over parts, each with the t of its own degrees of
    freedom (Banerjee 1960, Sankhya 22:357). Satterthwaite's degrees of freedom for all of it miss
    more often than they say, up to 8% for 5% where three seeds differ much.
    """
    return np.sqrt(sum(stdtrit(freedom, level / 2) ** 2 * part for part, freedom in parts))


def p_value(estimated: float, parts: Sequence[Part]) -> float:
    """The level at which `half_width` would just reach from an estimate to 0."""
    beyond, half = abs(estimated), float(half_width(parts))
    if math.isnan(half):
        return math.nan
    if half == 0:
        return 0.0 if beyond else 1.0
    if half_width(parts, LEAST) < beyond:
        return 0.0
    return float(brentq(lambda level: half_width(parts, level) - beyond, LEAST, 1))


def estimate(samples: Sequence[np.ndarray]) -> Crossed:
    """The mean over seeds and items, with its variances by analysis of variance.

    Args:
        samples: (..., seeds, items) for each kind of item; a seed's value is the sum of the means
            over each. What stands before the last two dimensions is that of all results.
    """
    seeds = samples[0].shape[-2]
    by_seed = sum(sample.mean(-1) for sample in samples)
    items, of_seeds = [], _variance(by_seed)
    for sample in samples:
        count = sample.shape[-1]
        means = sample.mean(-2)
        # Sums of squares: of all, of items and of seeds; what is left has (S - 1)(N - 1) degrees.
        total = _variance(sample.reshape(*sample.shape[:-2], -1)) * (seeds * count - 1)
        own = _variance(means) * seeds * (count - 1)
        left = total - own - _variance(sample.mean(-1)) * count * (seeds - 1)
        degrees = (seeds - 1) * (count - 1)
        rest = np.maximum(left, 0) / degrees if degrees else np.full_like(left, np.nan)
        items.append(Items(count, np.maximum(_variance(means) - rest / seeds, 0), rest))
        of_seeds = of_seeds - rest / count
    spread = Spread(seeds, np.maximum(of_seeds, 0), tuple(items))
    return Crossed(by_seed.mean(-1), np.sqrt(_variance(by_seed)), spread)


def _variance(values: np.ndarray) -> np.ndarray:
    """Over the last dimension, unbiased; NaN of one value, and 0 where rounding alone differs."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    return np.where(np.ptp(values, axis=-1) == 0, 0.0, values.var(-1, ddof=1))


def samples(found: Sequence[Scores], normalize: bool) -> dict[str, list[np.ndarray]]:
    """What `estimate` takes of the same model trained with several seeds, by metric.

    They are those of pairs and, where there are none, of labelled responses. Subtracted from those
    of another model with the same seeds they are of the paired difference.

    Args:
        found: scores of the same responses, a seed each.
    """
    if len(found[0].index.pairs):
        margins = np.stack([pair_margins(one, normalize) for one in found])
        return {"pair_acc": [(margins > 0).astype(float)], "margin": [margins]}
    sides = [labelled.sides(one, normalize) for one in found]
    desirable, undesirable = (np.stack(side) for side in zip(*sides, strict=True))
    parted = [labelled.placements(*one) for one in sides]
    below, above = (np.stack(side) for side in zip(*parted, strict=True))
    # The mean of either is the whole AUC: the second one gives its variance alone.
    auc = [below, above - above.mean(1, keepdims=True)]
    return {"auc": auc, "label_margin": [desirable, -undesirable]}
