"""APO-zero: anchored preference optimization (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """Equation 7: 1 - sigmoid(r_chosen) + sigmoid(r_rejected) with r = beta x (policy - reference).

    The chosen response becomes likelier and the rejected one less likely: for chosen responses that
    are better than the model's own.

    Returns:
        (pairs,), without a unit, between 0 and 2.
    """
    chosen, rejected = (train.beta * ratio for ratio in batch.log_ratios)
    return (-chosen).sigmoid() + rejected.sigmoid()


OBJECTIVE = Objective("APO-zero", "pairs", loss)
