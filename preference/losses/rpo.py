"""RPO: DPO with a term for SFT (Pang et al. 2024, iterative reasoning PO, arXiv:2404.19733)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import NonNegative, Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`alpha` is the weight of the term for SFT."""

    alpha: NonNegative = 1.0


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """DPO's loss, and alpha x the chosen response's cross-entropy.

    That one is a mean over the response's tokens, as in the paper, whatever
    `scoring.length_normalize` says of DPO's; TRL's is a mean over the tokens of a micro-batch.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(train.beta * batch.margin - batch.ahead) + options.alpha * batch.nll


OBJECTIVE = Objective("RPO", "pairs", loss, options=Options, margins=True)
