"""DPO: direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290)."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from preference.core.params import Train
from preference.core.sections import Minority, Section
from preference.objectives.batch import Batch, cross_entropy
from preference.objectives.objective import Objective
from preference.store.scores import Metrics, Scores, mean, rewards

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """With `label_smoothing`, the share of labels taken to be wrong, it is conservative DPO."""

    label_smoothing: Minority = 0.0


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """Equation 7: -log sigmoid(r_chosen - r_rejected) with r = beta x (policy - reference).

    Conservative DPO (Mitchell 2023), with label smoothing e, is (1 - e) times that, and e times the
    loss of the swapped pair. A margin m that data ask for makes the first -log sigmoid(r_chosen -
    r_rejected - m), as Touvron et al. 2023 (arXiv:2307.09288) have it, equation 2.

    Returns:
        (pairs,), losses in nats.
    """
    return cross_entropy(train.beta * batch.margin, options.label_smoothing, batch.ahead)


def metrics(policy: Scores, reference: Scores, settings: Train, normalize: bool) -> Metrics:
    """DPO's loss, `dpo_acc` (share with the chosen reward strictly higher) and mean `reward`."""
    found = rewards(policy, reference, normalize, settings.beta)
    reward, index = np.subtract(*found[policy.index.pairs].T), policy.index
    ahead = 0.0 if index.margins is None else index.margins
    wrong = Options.model_validate(settings.options).label_smoothing
    losses = -(1 - wrong) * log_expit(reward - ahead) - wrong * log_expit(-reward - ahead)
    return {
        "loss": mean(losses, index.pair_weights),
        "dpo_acc": mean(reward > 0),
        "reward": mean(reward),
    }


OBJECTIVE = Objective("DPO", "pairs", loss, metrics, Options, margins=True)
