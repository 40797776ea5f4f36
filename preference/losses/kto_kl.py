"""KTO with the KL term of its paper (Ethayarajh et al. 2024, arXiv:2402.01306)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import LabelWeights, Objective

if TYPE_CHECKING:
    from torch import Tensor


def statistic(batch: Batch) -> "Tensor":
    """The estimate of the KL divergence: max(0, mean log-ratio of mismatched combinations).

    Section 4.1: of responses behind other prompts, all of a step, whatever their labels or weights.
    """
    return (batch.policy - batch.reference).mean().clamp(min=0)


def loss(batch: Batch, train: Train, options: LabelWeights) -> "Tensor":
    """Equations 7 and 8: 1 - sigmoid(beta x (log-ratio - KL)) for a desirable example.

    For an undesirable one 1 - sigmoid(beta x (KL - log-ratio)); times lambda_D and lambda_U, here
    `desirable_weight` and `undesirable_weight`. No gradient goes through the KL term.

    Returns:
        Without a unit, of the batch's shape.
    """
    assert batch.statistic is not None
    above = train.beta * (batch.policy - batch.reference - batch.statistic)
    losses = (-above.where(batch.desirable, -above)).sigmoid()
    return options.times(losses, batch.desirable)


OBJECTIVE = Objective(
    "KTO with KL", "labels", loss, options=LabelWeights, statistic=statistic, beside="mismatched"
)
