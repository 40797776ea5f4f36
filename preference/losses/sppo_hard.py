"""SPPO with hard labels: self-play preference optimization (Wu et al. 2024, arXiv:2405.00675)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """(chosen - 1 / (2 beta))^2 + (rejected + 1 / (2 beta))^2 of the two log-ratios.

    Equation 4.7 with eta = 1 / beta, where the chosen response wins with probability 1; the paper
    estimates that probability with a model.

    Returns:
        (pairs,), squared nats.
    """
    chosen, rejected = batch.log_ratios
    return (chosen - 0.5 / train.beta) ** 2 + (rejected + 0.5 / train.beta) ** 2


OBJECTIVE = Objective("SPPO", "pairs", loss)
