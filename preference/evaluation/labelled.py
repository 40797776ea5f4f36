"""Desirable and undesirable responses that are in no pair: how well a model's scores part them."""

import math
from statistics import NormalDist

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from preference.evaluation.intervals import CONFIDENCE, Interval
from preference.evaluation.statistics import Difference, group_difference
from preference.store.scores import Metrics, Scores, mean

METRICS = ("auc", "label_margin")
Sides = tuple[np.ndarray, np.ndarray]  # of (desirable,) and of (undesirable,) responses


def sides(scores: Scores, normalize: bool, source: str | None = None) -> Sides:
    """The scores of both kinds of responses in nats, of all or of one source.

    Args:
        normalize: scores are means over tokens, else sums.
    """
    values, index = scores.of_responses(normalize), scores.index
    if source is not None and index.sources is not None:
        inside = index.sources[index.prompt_of] == source
    else:
        inside = np.ones(len(values), dtype=bool)
    desirable, undesirable = (values[side[inside[side]]] for side in index.by_label())
    return desirable, undesirable


def placements(desirable: np.ndarray, undesirable: np.ndarray) -> Sides:
    """The share of the other side that each response is on the right side of; ties count one half.

    The mean of either is the AUC (Mann-Whitney): the probability that a random desirable response
    scores above a random undesirable one. Both sides must hold something.
    """
    n, m = len(desirable), len(undesirable)
    ranks = stats.rankdata(np.concatenate([desirable, undesirable]))
    below = (ranks[:n] - stats.rankdata(desirable)) / m
    above = 1 - (ranks[n:] - stats.rankdata(undesirable)) / n
    return below, above


def auc_interval(auc: float, desirable: int, undesirable: int) -> Interval:
    """The 95% interval of an AUC over so many responses, to it what Wilson's is to a share.

    It stays within 0 and 1, and has a width also where all are told apart: the values that the AUC
    is no further from than 1.96 of Hanley and McNeil's standard errors at them (Newcombe 2006,
    Statistics in Medicine 25:559, method 5). NaN where a side is empty.
    """
    if not desirable or not undesirable:
        return Interval(math.nan, math.nan)
    z, others = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), (desirable + undesirable) / 2 - 1

    def beyond(true: float) -> float:
        spread = 1 + others * ((1 - true) / (2 - true) + true / (1 + true))
        variance = true * (1 - true) * spread / (desirable * undesirable)
        return (auc - true) ** 2 - z**2 * variance

    # At the AUC itself it is negative, but at 0 and 1, where there is no variance.
    inside = min(max(auc, 1e-9), 1 - 1e-9)
    low = brentq(beyond, 0, inside) if auc > 0 else 0.0
    high = brentq(beyond, inside, 1) if auc < 1 else 1.0
    return Interval(float(low), float(high))


def metrics(desirable: np.ndarray, undesirable: np.ndarray) -> Metrics:
    """How often and by how much desirable responses score above undesirable ones.

    `auc` is the mean of `placements`, `label_margin` the mean score of the desirable minus that of
    the undesirable responses, in nats; the ends of their 95% intervals have the same names with
    `_low` and `_high` (Welch's, of the margin). NaN where a side is empty.
    """
    n, m = len(desirable), len(undesirable)
    auc = mean(placements(desirable, undesirable)[0]) if n and m else math.nan
    sure, margin = auc_interval(auc, n, m), group_difference(desirable, undesirable)
    return {
        "auc": auc,
        "auc_low": sure.low,
        "auc_high": sure.high,
        "label_margin": margin.difference,
        "label_margin_low": margin.low,
        "label_margin_high": margin.high,
    }


def differences(before: Sides, after: Sides) -> dict[str, Difference]:
    """Paired differences of `METRICS` between two models on the same responses.

    That of the AUC has the variance of DeLong et al. 1988 (Biometrics 44:837): of the changes of
    placements, on both sides. Intervals and p-values are Welch's.
    """
    margin = group_difference(*(new - old for old, new in zip(before, after, strict=True)))
    if not all(map(len, before)):
        return {"auc": Difference(*[math.nan] * 4), "label_margin": margin}
    old, new = placements(*before), placements(*after)
    gained, other = new[0] - old[0], new[1] - old[1]
    # The mean of either is the whole difference: the second one gives its variance alone.
    found = group_difference(gained, other.mean() - other)
    low, high = np.clip([found.low, found.high], -1, 1).tolist()
    return {
        "auc": Difference(found.difference, low, high, found.p_value),
        "label_margin": margin,
    }
