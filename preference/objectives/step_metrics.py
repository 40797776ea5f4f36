"""What training says of every step, under the names that TRL's users know."""

from collections.abc import Iterable

import numpy as np

from preference.store.scores import Metrics

NONE = np.zeros(8)


def tally(rewards: np.ndarray, logps: np.ndarray, desirable: np.ndarray) -> np.ndarray:
    """Sums over some items of a step, which add up over micro-batches and processes.

    Args:
        rewards: implicit ones, (items, responses of each).
        logps: of the responses, sums over their tokens in nats, (items, responses of each).
        desirable: whether each response is, (items, responses of each).

    Returns:
        (8,): how many are desirable and how many not, the same of rewards and of
        log-probabilities, then pairs, and those whose desirable response has the higher reward.
    """
    sides = [desirable, ~desirable]
    sums = [values[side].sum() for values in (rewards, logps) for side in sides]
    paired = desirable.sum(axis=1) * 2 == desirable.shape[1]
    margins = np.where(desirable, rewards, -rewards)[paired].sum(axis=1)
    hits = (margins > 0).sum()
    return np.array([*(side.sum() for side in sides), *sums, len(margins), hits], dtype=float)


def of_sums(sums: Iterable[float]) -> Metrics:
    """The means of a step, from the sums of all that is in it; what it has none of is left out."""
    desirable, undesirable, *four, pairs, hits = map(float, sums)
    counts = (desirable, undesirable) * 2
    names = ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")
    named = zip(names, four, counts, strict=True)
    found = {name: value / count for name, value, count in named if count}
    if desirable and undesirable:
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
    if pairs:
        found["rewards/accuracies"] = hits / pairs
    return found
