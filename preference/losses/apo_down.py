"""APO-down: anchored preference optimization (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """Equation 8: sigmoid(r_chosen) + 1 - sigmoid(r_chosen - r_rejected).

    With r = beta x (policy - reference). Both become less likely, the rejected one more so: for
    chosen responses that are worse than the model's own.

    Returns:
        (pairs,), without a unit, between 0 and 2.
    """
    chosen, _ = batch.log_ratios
    return (train.beta * chosen).sigmoid() + (-train.beta * batch.margin).sigmoid()


OBJECTIVE = Objective("APO-down", "pairs", loss)
