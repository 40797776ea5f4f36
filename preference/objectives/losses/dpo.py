"""DPO: direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290)."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from preference.core.params import Train
from preference.objectives.objective import Objective
from preference.store.scores import Metrics, Scores, mean, rewards

if TYPE_CHECKING:
    from torch import Tensor


def loss(
    policy_chosen: "Tensor",
    policy_rejected: "Tensor",
    reference_chosen: "Tensor",
    reference_rejected: "Tensor",
    beta: float,
) -> "Tensor":
    """Equation 7: -log sigmoid(r_chosen - r_rejected) with r = beta x (policy - reference).

    Args:
        policy_chosen: (pairs,), log-probabilities in nats, sums or means over tokens; so are the
            other three.
        beta: strength of the tie to the reference.

    Returns:
        (pairs,), losses in nats.
    """
    from torch.nn.functional import logsigmoid

    chosen = policy_chosen - reference_chosen
    rejected = policy_rejected - reference_rejected
    return -logsigmoid(beta * (chosen - rejected))


def metrics(policy: Scores, reference: Scores, settings: Train, normalize: bool) -> Metrics:
    """DPO's loss, `dpo_acc` (share with the chosen reward strictly higher) and mean `reward`."""
    found = rewards(policy, reference, normalize, settings.beta)
    reward = np.subtract(*found[policy.index.pairs].T)
    return {
        "loss": mean(-log_expit(reward)),
        "dpo_acc": mean(reward > 0),
        "reward": mean(reward),
    }


OBJECTIVE = Objective(
    "DPO",
    "pairs",
    lambda policy, reference, desirable, train, _: loss(
        policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], train.beta
    ),
    metrics,
)
