"""Hinge loss of rewards: SLiC-HF (Zhao et al. 2023, arXiv:2305.10425), with a reference."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """max(0, 1 - (r_chosen - r_rejected)) with r = beta x (policy - reference).

    That is SLiC-HF's calibration loss, with a margin of 1, of log-ratios in place of
    log-probabilities, as Liu et al. 2023 (arXiv:2309.06657) have it under the name hinge-norm, and
    without its term for SFT.

    Returns:
        (pairs,), without a unit.
    """
    return (1 - train.beta * batch.margin).relu()


OBJECTIVE = Objective("Hinge", "pairs", loss)
