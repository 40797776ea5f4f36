"""BCO of labels: binary classifier optimization (Jung et al. 2024, arXiv:2404.04656)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.objectives.batch import Batch
from preference.objectives.objective import LabelWeights, Objective

if TYPE_CHECKING:
    from torch import Tensor


def statistic(batch: Batch) -> "Tensor":
    """The mean log-ratio of all responses of a step."""
    return (batch.policy - batch.reference).mean()


def loss(batch: Batch, train: Train, options: LabelWeights) -> "Tensor":
    """-log sigmoid(r - d) for a desirable example, else -log sigmoid(d - r).

    With r = beta x (policy - reference) and the shift d, the mean reward of all responses, without
    a gradient. It is the step's here. The authors' trainer, which was TRL's, has the mean over all
    steps so far: it varies less in small steps, and lags behind the policy. The density ratio that
    corrects for prompts which differ between the labels (UDM) is left out.

    Returns:
        In nats, of the batch's shape.
    """
    from torch.nn.functional import logsigmoid

    assert batch.statistic is not None
    above = train.beta * (batch.policy - batch.reference - batch.statistic)
    return options.times(-logsigmoid(above.where(batch.desirable, -above)), batch.desirable)


OBJECTIVE = Objective("BCO of labels", "labels", loss, options=LabelWeights, statistic=statistic)
