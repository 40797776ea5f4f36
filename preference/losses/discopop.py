"""DiscoPOP: the loss that a language model found (Lu et al. 2024, arXiv:2406.08414)."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from preference.core.params import Train
from preference.core.sections import Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`tau`, the temperature of the weights; above 1 the loss would have no bound in float32."""

    tau: Annotated[float, Field(gt=0, le=1)] = 0.05


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """Equation 5: -(1 - w) log sigmoid(m) + w exp(-m), with w = sigmoid(m / tau).

    With m = r_chosen - r_rejected and r = beta x (policy - reference): logistic where the pair is
    wrong, exponential where it is right.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    margin = train.beta * batch.margin
    logistic = -logsigmoid(margin) * (-margin / options.tau).sigmoid()
    # In one exponent, since exp(-m) alone overflows where its weight is 0.
    return logistic + (logsigmoid(margin / options.tau) - margin).exp()


OBJECTIVE = Objective("DiscoPOP", "pairs", loss, options=Options)
