"""Robust DPO (Chowdhury et al. 2024, arXiv:2403.00409)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import Minority, Section
from preference.objectives.batch import Batch
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`label_smoothing` is the share of labels that are wrong; with 0 it would be DPO."""

    label_smoothing: Minority = 0.1


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """((1 - e) l(m) - e l(-m)) / (1 - 2 e), with l(m) = -log sigmoid(m) and e the wrong labels.

    With m = r_chosen - r_rejected and r = beta x (policy - reference). Where a share e of labels is
    swapped, its expectation is that of DPO's loss of the right labels.

    Returns:
        (pairs,), in nats; negative ones are possible.
    """
    from torch.nn.functional import logsigmoid

    margin, wrong = train.beta * batch.margin, options.label_smoothing
    kept, swapped = -logsigmoid(margin - batch.ahead), -logsigmoid(-margin - batch.ahead)
    return ((1 - wrong) * kept - wrong * swapped) / (1 - 2 * wrong)


OBJECTIVE = Objective("Robust DPO", "pairs", loss, options=Options, margins=True)
