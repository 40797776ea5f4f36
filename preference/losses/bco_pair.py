"""BCO of pairs: binary classifier optimization (Jung et al. 2024, arXiv:2404.04656)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def statistic(batch: Batch) -> "Tensor":
    """The mean log-ratio of all responses of a step."""
    return (batch.policy - batch.reference).mean()


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """-log sigmoid(r_chosen - d) - log sigmoid(d - r_rejected).

    With r = beta x (policy - reference) and the shift d, the mean reward of chosen and rejected
    responses, without a gradient: here the step's, in the paper a running one. TRL's `bco_pair` has
    no shift.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    assert batch.statistic is not None
    chosen, rejected = (train.beta * (ratio - batch.statistic) for ratio in batch.log_ratios)
    return -logsigmoid(chosen) - logsigmoid(-rejected)


OBJECTIVE = Objective("BCO", "pairs", loss, statistic=statistic)
