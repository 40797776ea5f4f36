"""SimPO: simple preference optimization (Meng et al. 2024, arXiv:2405.14734)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import NonNegative, Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`gamma` is the margin asked for, in rewards; `alpha` above 0 adds SFT: CPO-SimPO."""

    gamma: NonNegative = 0.5
    alpha: NonNegative = 0.0


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """Equation 6: -log sigmoid(beta x (chosen - rejected) - gamma).

    Of log-probabilities that are means over tokens by definition, whatever
    `scoring.length_normalize` says, and without a reference. With alpha that much of the chosen
    response's cross-entropy, a mean over its tokens, is added.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    margin = train.beta * batch.margin - options.gamma - batch.ahead
    return options.alpha * batch.nll - logsigmoid(margin)


OBJECTIVE = Objective(
    "SimPO", "pairs", loss, options=Options, reference=False, length_normalize=True, margins=True
)
