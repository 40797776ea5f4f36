"""LD-DPO: length-desensitized DPO (Liu et al. 2024, arXiv:2409.06411)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import Section, Share
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`alpha` is how much the tokens count that only the longer response of a pair has."""

    alpha: Share = 0.5


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """DPO's, of scores in which the tokens beyond the shorter response's length count alpha.

    Equation 10: log p of the first l tokens, and alpha times that of the others, with l the length
    of the pair's shorter response. The batch has such scores already; those of test data are whole.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(train.beta * batch.margin - batch.ahead)


OBJECTIVE = Objective(
    "LD-DPO",
    "pairs",
    loss,
    options=Options,
    length_normalize=False,
    beside="public_length",
    margins=True,
    tail=lambda options: options.alpha,
)
