"""How sure a share or a mean is: 95% intervals."""

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A 95% interval; NaN where a single value tells nothing of its spread."""

    low: float
    high: float


def share_interval(hits: np.ndarray) -> Interval:
    """Wilson's interval of a share, from the (pairs,) booleans that it is the mean of."""
    # Training needs it after an epoch; no stage waits for this import when it starts.
    from scipy import stats

    if not len(hits):
        return Interval(math.nan, math.nan)
    result = stats.binomtest(int(hits.sum()), len(hits))
    return Interval(*map(float, result.proportion_ci(CONFIDENCE, method="wilson")))


def mean_interval(values: np.ndarray) -> Interval:
    """Student's interval of a mean over (pairs,) values."""
    from scipy import stats

    if len(values) < 2:
        return Interval(math.nan, math.nan)
    if constant(values):
        return Interval(float(values[0]), float(values[0]))
    return Interval(*map(float, stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)))


def constant(values: np.ndarray) -> bool:
    """Whether all values are the same, so that nothing is known of their spread but that."""
    return bool(np.all(values == values[0]))
