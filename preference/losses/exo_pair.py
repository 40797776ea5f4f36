"""EXO of pairs: efficient exact optimization (Ji et al. 2024, arXiv:2402.00856)."""

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from preference.core.params import Train
from preference.core.sections import Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`label_smoothing`, never 0: a divergence from certainty would be infinite."""

    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """Equation 16: KL(p || (1 - e, e)), with p the policy's preference and e label smoothing.

    Of a pair, p = (sigmoid(m), sigmoid(-m)) with m = r_chosen - r_rejected and r = beta x (policy -
    reference). DPO minimizes the divergence the other way round.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    margin, wrong = train.beta * batch.margin, options.label_smoothing
    chosen, rejected = logsigmoid(margin), logsigmoid(-margin)
    right = chosen.exp() * (chosen - math.log1p(-wrong))
    return right + rejected.exp() * (rejected - math.log(wrong))


OBJECTIVE = Objective("EXO", "pairs", loss, options=Options)
