"""ORPO: odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """Equations 6 and 7: cross-entropy - beta x log sigmoid(log-odds of chosen - of rejected).

    The odds are p / (1 - p), with p the exponential of a response's mean log-probability by token,
    whatever `scoring.length_normalize` says. The cross-entropy is the chosen response's, a mean
    over its tokens; TRL's has the prompt's tokens as well. Its beta is the paper's lambda, and
    there is no reference.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    chosen, rejected = (_log_odds(means) for means in batch.policy.unbind(1))
    return batch.nll - train.beta * logsigmoid(chosen - rejected)


def _log_odds(means: "Tensor") -> "Tensor":
    from torch import finfo

    # Where a response is certain, odds and gradient would be infinite.
    means = means.clamp(max=-finfo(means.dtype).eps)
    return means - (-means.expm1()).log()


OBJECTIVE = Objective("ORPO", "pairs", loss, reference=False, length_normalize=True)
