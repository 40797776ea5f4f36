"""Simple KTO: Ethayarajh et al. 2024 (arXiv:2402.01306) with a constant for the KL term."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from preference.core.params import Train
from preference.objectives.objective import Objective
from preference.store.scores import Metrics, Scores, mean, pair_margins, rewards

if TYPE_CHECKING:
    from torch import Tensor


def loss(
    policy: "Tensor", reference: "Tensor", desirable: "Tensor", beta: float, target_kl: float
) -> "Tensor":
    """-log sigmoid(r - target_kl) for a desirable example, else -log sigmoid(target_kl - r).

    With r = beta x (policy - reference).

    Args:
        policy: log-probabilities of examples in nats, sums or means over tokens, of any shape;
            `reference` has the same.
        desirable: boolean labels, of that shape, too.

    Returns:
        Losses in nats, of that shape.
    """
    from torch.nn.functional import logsigmoid

    above = beta * (policy - reference) - target_kl
    return -logsigmoid(above.where(desirable, -above))


def metrics(policy: Scores, reference: Scores, settings: Train, normalize: bool) -> Metrics:
    """Simple KTO's loss, `label_acc` (share where reward > 0 equals the label), mean rewards.

    Both sides of every pair count as examples, and labelled responses in no pair. `pair_margin` is
    the margin by its other name.
    """
    found = rewards(policy, reference, normalize, settings.beta)
    desired, undesired = (found[which] for which in policy.index.by_label())
    both = np.concatenate([desired, undesired])
    labels = np.arange(len(both)) < len(desired)
    target_kl = settings.kto.target_kl
    above = np.where(labels, both - target_kl, target_kl - both)
    return {
        "loss": mean(-log_expit(above)),
        "label_acc": mean((both > 0) == labels),
        "mean_reward": mean(both),
        "desired_reward": mean(desired),
        "undesired_reward": mean(undesired),
        "pair_margin": mean(pair_margins(policy, normalize)),
    }


OBJECTIVE = Objective(
    "KTO",
    "labels",
    lambda policy, reference, desirable, train, _: loss(
        policy, reference, desirable, train.beta, train.kto.target_kl
    ),
    metrics,
)
