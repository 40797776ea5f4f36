"""Simple KTO: Ethayarajh et al. 2024 (arXiv:2402.01306) with a constant for the KL term."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective
from preference.store.scores import Metrics, Scores, mean, pair_margins, rewards

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """-log sigmoid(r - target_kl) for a desirable example, else -log sigmoid(target_kl - r).

    With r = beta x (policy - reference).

    Returns:
        Losses in nats, of the batch's shape.
    """
    from torch.nn.functional import logsigmoid

    above = train.beta * (batch.policy - batch.reference) - train.kto.target_kl
    return -logsigmoid(above.where(batch.desirable, -above))


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


OBJECTIVE = Objective("KTO", "labels", loss, metrics)
