"""How sure a difference is, on the same pairs scored by two models; what metrics files say."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from preference.evaluation.intervals import constant, mean_interval
from preference.evaluation.metrics import of_margins
from preference.store.scores import Scores, pair_margins


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
    return {"pairs": len(margins), **of_margins(margins)}
