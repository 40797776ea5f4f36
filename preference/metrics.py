"""Metrics of the scores of one split: pure functions of arrays, means over pairs or examples."""

import numpy as np
from scipy.special import log_expit

from preference.params import Train
from preference.tables import Scores

Metrics = dict[str, float]


def pair_metrics(scores: Scores, normalize: bool) -> Metrics:
    """How often and by how much chosen scores above rejected, without a reference.

    `pair_acc` is the share of pairs with chosen strictly above rejected, `margin` the mean of
    chosen minus rejected, in nats (by token if `normalize`).
    """
    margins = pair_margins(scores, normalize)
    return {"pair_acc": float(np.mean(margins > 0)), "margin": float(np.mean(margins))}


def pair_margins(scores: Scores, normalize: bool) -> np.ndarray:
    """Chosen minus rejected, (pairs,)."""
    chosen, rejected = scores.responses(normalize)
    return chosen - rejected


def dpo_metrics(policy: Scores, reference: Scores, normalize: bool, beta: float) -> Metrics:
    """DPO's loss, `dpo_acc` (share with the chosen reward strictly higher) and mean `reward`."""
    chosen, rejected = rewards(policy, reference, normalize, beta)
    reward = chosen - rejected
    return {
        "loss": float(np.mean(-log_expit(reward))),
        "dpo_acc": float(np.mean(reward > 0)),
        "reward": float(np.mean(reward)),
    }


def kto_metrics(
    policy: Scores, reference: Scores, normalize: bool, beta: float, target_kl: float
) -> Metrics:
    """Simple KTO's loss, `label_acc` (share where reward > 0 equals the label), mean rewards.

    Both halves of every pair count as examples. `pair_margin` is the margin by its other name.
    """
    desired, undesired = rewards(policy, reference, normalize, beta)
    both = np.concatenate([desired, undesired])
    labels = np.arange(len(both)) < len(desired)
    above = np.where(labels, both - target_kl, target_kl - both)
    return {
        "loss": float(np.mean(-log_expit(above))),
        "label_acc": float(np.mean((both > 0) == labels)),
        "mean_reward": float(np.mean(both)),
        "desired_reward": float(np.mean(desired)),
        "undesired_reward": float(np.mean(undesired)),
        "pair_margin": pair_metrics(policy, normalize)["margin"],
    }


def all_metrics(policy: Scores, reference: Scores, settings: Train, normalize: bool) -> Metrics:
    """Pair metrics and the objective's, without intervals, as training follows them by epoch."""
    return {
        **pair_metrics(policy, normalize),
        **objective_metrics(policy, reference, settings, normalize),
    }


def objective_metrics(
    policy: Scores, reference: Scores, settings: Train, normalize: bool
) -> Metrics:
    """The metrics that need a reference, the objective's under its own names."""
    if settings.objective == "dpo":
        found = dpo_metrics(policy, reference, normalize, settings.beta)
    else:
        found = kto_metrics(policy, reference, normalize, settings.beta, settings.kto.target_kl)
    return found | log_ratios(policy, reference, normalize)


def log_ratios(policy: Scores, reference: Scores, normalize: bool) -> Metrics:
    """Mean log-ratio of policy to reference, in nats, of chosen and of rejected responses.

    Training that pushes both down shows here: the margin alone may grow all the same.
    """
    chosen, rejected = rewards(policy, reference, normalize, beta=1)
    return {
        "chosen_log_ratio": float(np.mean(chosen)),
        "rejected_log_ratio": float(np.mean(rejected)),
    }


def rewards(
    policy: Scores, reference: Scores, normalize: bool, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Implicit rewards beta x (policy - reference) of chosen and rejected, (pairs,) each."""
    if not np.array_equal(policy.rows, reference.rows):
        raise ValueError("policy and reference scores are of different pairs")
    sides = zip(policy.responses(normalize), reference.responses(normalize), strict=True)
    chosen, rejected = (beta * (ours - theirs) for ours, theirs in sides)
    return chosen, rejected
