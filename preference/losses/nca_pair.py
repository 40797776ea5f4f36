"""NCA of pairs: noise contrastive alignment (Chen et al. 2024, arXiv:2402.05369)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch, train: Train, options: NoOptions) -> "Tensor":
    """-log sigmoid(r_chosen) - (log sigmoid(-r_chosen) + log sigmoid(-r_rejected)) / 2.

    With r = beta x (policy - reference): each reward by itself has its best value, so that the
    chosen response does not become less likely, as it may under DPO.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    chosen, rejected = (train.beta * ratio for ratio in batch.log_ratios)
    return -logsigmoid(chosen) - 0.5 * (logsigmoid(-chosen) + logsigmoid(-rejected))


OBJECTIVE = Objective("NCA", "pairs", loss)
