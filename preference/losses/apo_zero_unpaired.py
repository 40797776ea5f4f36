"""APO-zero of labelled responses (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import LabelWeights, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: LabelWeights) -> "Tensor":
    """Equation 7 by response: 1 - sigmoid(r) for a desirable example, else sigmoid(r).

    With r = beta x (policy - reference). The two of a pair come to the paired loss; KTO's, with 0
    for the KL term.

    Returns:
        Without a unit, of the batch's shape.
    """
    reward = train.beta * (batch.policy - batch.reference)
    return options.times((-reward.where(batch.desirable, -reward)).sigmoid(), batch.desirable)


OBJECTIVE = Objective("APO-zero of labels", "labels", loss, options=LabelWeights)
