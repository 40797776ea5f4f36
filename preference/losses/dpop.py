"""DPOP: DPO-positive, by which Smaug was trained (Pal et al. 2024, arXiv:2402.13228)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import NonNegative, Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`penalty` is the paper's lambda."""

    penalty: NonNegative = 50.0


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """-log sigmoid(beta x (h - penalty x max(0, reference - policy of chosen))).

    With h the chosen log-ratio minus the rejected one: DPO, which a chosen response that becomes
    less likely than under the reference costs more than it can gain.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    chosen, _ = batch.log_ratios
    penalized = batch.margin - options.penalty * (-chosen).relu()
    return -logsigmoid(train.beta * penalized - batch.ahead)


OBJECTIVE = Objective("DPOP", "pairs", loss, options=Options, margins=True)
