"""Metrics of the scores of one split: pure functions of arrays, means over pairs or examples."""

from preference.store.scores import Metrics, Scores, mean, pair_margins


def pair_metrics(scores: Scores, normalize: bool) -> Metrics:
    """How often and by how much chosen scores above rejected, without a reference.

    `pair_acc` is the share of pairs with chosen strictly above rejected, `margin` the mean of
    chosen minus rejected, in nats (by token if `normalize`); NaN where there are no pairs.
    """
    margins = pair_margins(scores, normalize)
    return {"pair_acc": mean(margins > 0), "margin": mean(margins)}


def both_ways(scores: Scores) -> Metrics:
    """Pair metrics of means over tokens, and of sums under names that say so."""
    sums = pair_metrics(scores, normalize=False)
    return pair_metrics(scores, normalize=True) | {f"{k}_sum": v for k, v in sums.items()}
