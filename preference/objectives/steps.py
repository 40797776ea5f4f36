"""What training tells of a step: sums while it is computed, metrics of them when they are read."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from preference.store.scores import Metrics

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor

SUMS = 8  # how many `step_sums` there are


def step_sums(rewards: "Tensor", logps: "Tensor", desirable: "Tensor") -> "Tensor":
    """What `step_metrics` needs of some items of a step; adds up over micro-batches and processes.

    Nothing is read from the device, and no shape depends on a value.

    Args:
        rewards: implicit ones, (items, responses of each).
        logps: of the responses, sums over their tokens in nats, (items, responses of each).
        desirable: whether each response is, (items, responses of each).

    Returns:
        (8,), float64: how many are desirable and how many not, the same of rewards and of
        log-probabilities, then pairs, and those whose desirable response has the higher reward.
    """
    import torch

    rewards, logps = rewards.double(), logps.double()
    sides = desirable, ~desirable
    sums = [values.where(side, 0).sum() for values in (rewards, logps) for side in sides]
    paired = desirable.sum(1) * 2 == desirable.shape[1]
    margins = rewards.where(desirable, -rewards).sum(1)
    hits = (paired & (margins > 0)).sum()
    return torch.stack([*(side.sum() for side in sides), *sums, paired.sum(), hits]).double()


def step_metrics(sums: Iterable[float]) -> Metrics:
    """What training says of a step, by the names that TRL has; what it has none of is left out.

    Args:
        sums: of all that is in it.
    """
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
