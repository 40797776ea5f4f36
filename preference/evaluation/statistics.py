"""How sure a result is: intervals, and tests on the same pairs scored by two models."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from preference.store.scores import Scores, mean, pair_margins

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A 95% interval; NaN where a single value tells nothing of its spread."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference, its 95% interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def share_interval(hits: np.ndarray) -> Interval:
    """Wilson's interval of a share, from the (pairs,) booleans that it is the mean of."""
    if not len(hits):
        return Interval(math.nan, math.nan)
    result = stats.binomtest(int(hits.sum()), len(hits))
    return Interval(*map(float, result.proportion_ci(CONFIDENCE, method="wilson")))


def mean_interval(values: np.ndarray) -> Interval:
    """Student's interval of a mean over (pairs,) values."""
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    if _constant(values):
        return Interval(float(values[0]), float(values[0]))
    return Interval(*map(float, stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)))


def share_difference(before: np.ndarray, after: np.ndarray) -> Difference:
    """Difference of two shares over the same pairs, (pairs,) booleans each.

    The p-value is McNemar's, exact: among the pairs on which the two disagree, either direction
    is as likely under the null. The interval is Student's over the pairwise differences.
    """
    interval = mean_interval(after.astype(float) - before.astype(float))
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    p_value = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return Difference((gained - lost) / len(before), **asdict(interval), p_value=float(p_value))


def mean_difference(before: np.ndarray, after: np.ndarray) -> Difference:
    """Difference of two means over the same pairs, (pairs,) values each; the paired t-test."""
    change = after - before
    interval = mean_interval(change)
    if len(change) < 2:
        p_value = math.nan
    elif _constant(change):
        p_value = 1.0 if change[0] == 0 else 0.0
    else:
        p_value = float(stats.ttest_1samp(change, 0).pvalue)
    return Difference(float(change.mean()), **asdict(interval), p_value=p_value)


def summary(scores: Scores, normalize: bool) -> dict[str, float | str]:
    """Pair metrics with their 95% intervals, of all and by source, and their context."""
    margins = pair_margins(scores, normalize)
    found: dict[str, float | str] = {**_estimates(margins), **scores.context}
    for title, inside in scores.index.by_source().items():
        found |= {f"{title}: {key}": value for key, value in _estimates(margins[inside]).items()}
    return found


def headline(values: Mapping[str, object]) -> dict[str, object]:
    """Of a `summary` what a screen has room for beside other models, as `dvc metrics show` puts it.

    Returns:
        The keys that every model has, whatever it was trained with.
    """
    return {key: values[key] for key in ("pair_acc", "margin")}


def _estimates(margins: np.ndarray) -> dict[str, float]:
    accuracy, margin = share_interval(margins > 0), mean_interval(margins)
    return {
        "pairs": len(margins),
        "pair_acc": mean(margins > 0),
        "pair_acc_low": accuracy.low,
        "pair_acc_high": accuracy.high,
        "margin": mean(margins),
        "margin_low": margin.low,
        "margin_high": margin.high,
    }


def _constant(values: np.ndarray) -> bool:
    return bool(np.all(values == values[0]))
