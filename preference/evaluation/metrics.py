"""Metrics of the scores of one split, with their intervals: pure functions of arrays."""

import numpy as np

from preference.evaluation.intervals import Interval, mean_interval, share_interval
from preference.store.scores import Metrics, Scores, mean, pair_margins, rewards


def pair_metrics(scores: Scores, normalize: bool) -> Metrics:
    """How often and by how much chosen scores above rejected, without a reference.

    `pair_acc` is the share of pairs with chosen strictly above rejected, `margin` the mean of
    chosen minus rejected, in nats (by token if `normalize`); NaN where there are no pairs. The
    ends of their 95% intervals have the same names with `_low` and `_high`.
    """
    return of_margins(pair_margins(scores, normalize))


def of_margins(margins: np.ndarray) -> Metrics:
    """`pair_metrics` of (pairs,) margins in nats."""
    hits = margins > 0
    return {
        "pair_acc": mean(hits),
        **_ends("pair_acc", share_interval(hits)),
        "margin": mean(margins),
        **_ends("margin", mean_interval(margins)),
    }


def both_ways(scores: Scores) -> Metrics:
    """Pair metrics of means over tokens, and of sums under names that say so."""
    sums = pair_metrics(scores, normalize=False)
    return pair_metrics(scores, normalize=True) | {f"{k}_sum": v for k, v in sums.items()}


def log_ratio_intervals(policy: Scores, reference: Scores, normalize: bool) -> Metrics:
    """The ends of the 95% intervals of what `log_ratios` gives, in nats."""
    ratios = rewards(policy, reference, normalize, beta=1)
    sides = zip(("chosen", "rejected"), policy.index.by_label(), strict=True)
    found = {side: mean_interval(ratios[which]) for side, which in sides}
    return {
        end: value
        for side, interval in found.items()
        for end, value in _ends(f"{side}_log_ratio", interval).items()
    }


def chosen_less_likely(policy: Scores, reference: Scores) -> Metrics:
    """The share of chosen responses that are less likely than under the reference.

    With the ends of its 95% interval. Preference tuning can widen margins and all the same make
    what people prefer less likely (Razin et al. 2024, arXiv:2410.08847). Responses in no pair count
    where they are desirable.
    """
    ratios = rewards(policy, reference, normalize=False, beta=1)
    lower = ratios[policy.index.by_label()[0]] < 0
    name = "chosen_less_likely"
    return {name: mean(lower), **_ends(name, share_interval(lower))}


def _ends(metric: str, interval: Interval) -> Metrics:
    return {f"{metric}_low": interval.low, f"{metric}_high": interval.high}
