"""CPO: contrastive preference optimization (Xu et al. 2024, arXiv:2401.08417)."""

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
    """-log sigmoid(beta x (chosen - rejected)), and alpha x the chosen response's cross-entropy.

    Of log-probabilities without a reference; the paper's are sums, as `scoring.length_normalize:
    false` gives. The cross-entropy is a mean over the response's tokens, near to what the authors'
    trainer, now TRL's, has: a mean over those of a micro-batch. The paper writes a sum.

    Returns:
        (pairs,), in nats.
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(train.beta * batch.margin - batch.ahead) + options.alpha * batch.nll


OBJECTIVE = Objective("CPO", "pairs", loss, options=Options, reference=False, margins=True)
