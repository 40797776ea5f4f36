"""IPO: identity preference optimization (Azar et al. 2023, arXiv:2310.12036)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """Equation 17: (h - 1 / (2 beta))^2, h the chosen log-ratio minus the rejected one.

    Its beta is the paper's tau. The paper's h is of sums; its authors' results, TRL and HALOs are
    of means over tokens, which `scoring.length_normalize` gives.

    Returns:
        (pairs,), squared nats.
    """
    return (batch.margin - 0.5 / train.beta) ** 2


OBJECTIVE = Objective("IPO", "pairs", loss)
