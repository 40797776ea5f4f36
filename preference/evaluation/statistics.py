"""How sure a difference is: of two models on the same pairs, of two groups of values."""

import math
import warnings
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from preference.evaluation.intervals import CONFIDENCE, constant, mean_interval
from preference.store.scores import mean


@dataclass(frozen=True)
class Difference:
    """A paired difference, its 95% interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def share_difference(before: np.ndarray, after: np.ndarray) -> Difference:
    """Difference of two shares over the same pairs, (pairs,) booleans each.

    The p-value is McNemar's, exact: among the pairs on which the two disagree, either direction
    is as likely under the null. The interval is Student's over the pairwise differences, which for
    hundreds of pairs is as good as any, cut where no difference of shares can be: beyond -1 and 1.
    """
    interval = mean_interval(after.astype(float) - before.astype(float))
    low, high = np.clip([interval.low, interval.high], -1, 1).tolist()
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    p_value = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return Difference((gained - lost) / len(before), low, high, p_value=float(p_value))


def mean_difference(before: np.ndarray, after: np.ndarray) -> Difference:
    """Difference of two means over the same pairs, (pairs,) values each; the paired t-test."""
    change = after - before
    interval = mean_interval(change)
    if len(change) < 2:
        p_value = math.nan
    elif constant(change):
        p_value = 1.0 if change[0] == 0 else 0.0
    else:
        p_value = float(stats.ttest_1samp(change, 0).pvalue)
    return Difference(float(change.mean()), **asdict(interval), p_value=p_value)


def group_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """The mean of one group of values minus that of another; Welch's t-test.

    NaN where a group is empty; of a group of one nothing is known of its spread.
    """
    sizes = len(first), len(second)
    if min(sizes) < 2:
        return Difference(mean(first) - mean(second), math.nan, math.nan, math.nan)
    if constant(first) and constant(second):
        gap = float(first[0] - second[0])
        # Without spread there is no t, but of all ways to choose the groups so few part them so.
        chance = 2 / math.comb(sum(sizes), sizes[0]) if gap else 1.0
        return Difference(gap, gap, gap, chance)
    with warnings.catch_warnings():
        # One group may be constant: scipy warns of that, and is right all the same.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(first, second, equal_var=False)
    low, high = map(float, found.confidence_interval(CONFIDENCE))
    return Difference(float(first.mean() - second.mean()), low, high, float(found.pvalue))
