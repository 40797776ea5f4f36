"""Simple KTO: Ethayarajh et al. 2024 (arXiv:2402.01306) with a constant for the KL term."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective, label_metrics
from preference.store.scores import Metrics, Scores, mean, rewards

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
    """Simple KTO's loss, and what holds for every objective of labelled responses."""
    found = rewards(policy, reference, normalize, settings.beta)
    desired, undesired = (found[which] for which in policy.index.by_label())
    target_kl = settings.kto.target_kl
    above = np.concatenate([desired - target_kl, target_kl - undesired])
    loss = mean(-log_expit(above))
    return {"loss": loss} | label_metrics(policy, reference, settings.beta, normalize)


OBJECTIVE = Objective("KTO", "labels", loss, metrics)
