"""AOT of pairs: alignment via optimal transport (Melnyk et al. 2024, arXiv:2406.05882)."""

from typing import TYPE_CHECKING

from preference.core.params import Train
from preference.core.sections import Minority, Section
from preference.objectives.batch import Batch, cross_entropy
from preference.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Options(Section):
    """`label_smoothing` is the share of labels taken to be wrong."""

    label_smoothing: Minority = 0.0


def statistic(batch: Batch) -> "Tensor":
    """The reference's margin that has the rank of each pair's margin by the policy, (pairs,).

    Sorting is a permutation, which has no gradient, so that with this each pair has its own loss.
    """
    policy, reference = (scores[:, 0] - scores[:, 1] for scores in (batch.policy, batch.reference))
    ranks = policy.argsort().argsort()
    return reference.sort().values[ranks]


def loss(batch: Batch, train: Train, options: Options) -> "Tensor":
    """-log sigmoid(beta x (policy's margin - reference's margin of the same rank in the step)).

    A margin is chosen minus rejected. Its mean over a step is DPO's loss of sorted margins: the
    policy's distribution of margins is to dominate the reference's, not each pair its own. With
    label smoothing e it is (1 - e) times that, and e times the same of the negated difference.

    Returns:
        (pairs,), in nats.
    """
    assert batch.statistic is not None
    above = batch.policy[:, 0] - batch.policy[:, 1] - batch.statistic
    return cross_entropy(train.beta * above, options.label_smoothing)


OBJECTIVE = Objective("AOT", "pairs", loss, options=Options, statistic=statistic)
