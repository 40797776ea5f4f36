"""What a loss is given of a step, and what several losses have in common."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from preference.store.scores import Scores

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Some items of a step.

    Of pairs all tensors are (pairs, 2), chosen first; of labelled responses they are of one shape.

    Attributes:
        policy: scores by the policy in nats, sums or means over tokens.
        reference: the same by the reference; 0 where the objective has none.
        desirable: whether each response is.
        logps: log-probabilities by the policy in nats, sums whatever the scores are.
        tokens: how many each sum is over.
        statistic: what the objective's `statistic` gave of the whole step; where that is a value
            for each item, those of these items.
        ahead: by how much more than 0 data ask the chosen reward to be ahead, (pairs,): their
            `margin`; 0 where they ask for none.
    """

    policy: "Tensor"
    reference: "Tensor"
    desirable: "Tensor"
    logps: "Tensor"
    tokens: "Tensor"
    statistic: "Tensor | None" = None
    ahead: "Tensor | float" = 0.0

    @property
    def log_ratios(self) -> "tuple[Tensor, Tensor]":
        """Policy minus reference, of the chosen and of the rejected responses, (pairs,) each."""
        return self.policy[:, 0] - self.reference[:, 0], self.policy[:, 1] - self.reference[:, 1]

    @property
    def margin(self) -> "Tensor":
        """How far the chosen response's log-ratio is above the rejected one's, (pairs,)."""
        chosen, rejected = self.log_ratios
        return chosen - rejected

    @property
    def nll(self) -> "Tensor":
        """Cross-entropy of the chosen responses, means over the tokens of each, (pairs,).

        What SFT minimizes, except that there long responses count more.
        """
        return -self.logps[:, 0] / self.tokens[:, 0]

    def given(self, statistic: "Tensor | None") -> "Batch":
        """The same, with what was found of the whole step."""
        return replace(self, statistic=statistic)

    def asking(self, margins: np.ndarray) -> "Batch":
        """The same, with the margins that data ask for, (pairs,)."""
        return replace(self, ahead=self.policy.new_tensor(margins))

    @staticmethod
    def of_scores(
        policy: Scores,
        reference: np.ndarray,
        normalize: bool,
        responses: np.ndarray,
        desirable: np.ndarray,
    ) -> "Batch":
        """Some responses of a split, of any shape, in float64.

        Args:
            reference: scores by the reference, (responses of the split,).
        """
        import torch

        own = policy.of_responses(normalize), reference, policy.logps, policy.tokens
        scores, anchors, logps, tokens = (torch.from_numpy(each[responses]) for each in own)
        return Batch(scores, anchors, torch.from_numpy(desirable), logps, tokens)


def beside(there: "Tensor", values: "Tensor") -> "Tensor":
    """Values from the host, where another tensor is: a GPU is given them without waiting for it."""
    return values.to(there.device, non_blocking=True)


def cross_entropy(logits: "Tensor", wrong: float, ahead: "Tensor | float" = 0.0) -> "Tensor":
    """-log sigmoid(logits - ahead) where labels are wrong with a probability: label smoothing.

    (1 - wrong) x -log sigmoid(logits - ahead) + wrong x -log sigmoid(-logits - ahead): a swapped
    pair is asked to be ahead by as much. Of any shape.
    """
    from torch.nn.functional import logsigmoid

    if not wrong:
        return -logsigmoid(logits - ahead)
    return -(1 - wrong) * logsigmoid(logits - ahead) - wrong * logsigmoid(-logits - ahead)
