"""What training needs to know of an objective, and SFT as the first one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from preference.batches import Item
from preference.tables import Pairs


@dataclass(frozen=True)
class Objective:
    """Examples and their loss, all that `training.fit` knows of an objective.

    Attributes:
        unit: what one example is, for people.
        items: the examples, (examples,); each names the responses that must be scored together.
        weights: (examples,); a step's loss is the sum of its examples' losses over the sum of
            their weights.
        loss: from the log-probabilities of a micro-batch (responses,), their token counts
            (responses,) and the examples' indices (micro-batch,) to losses in nats.
    """

    unit: str
    items: list[Item]
    weights: np.ndarray
    loss: Callable[[Tensor, Tensor, np.ndarray], Tensor]


def sft(pairs: Pairs) -> Objective:
    """Supervised fine-tuning: cross-entropy of the chosen responses, a mean over a step's tokens.

    A mean of the micro-batches' means would be that only if all had equally many tokens.
    """
    # The first token of a response that fills max_length has nothing before it: not scored.
    tokens = pairs.chosen.lengths - (pairs.chosen_prompt_tokens == 0)
    items = [Item(pair, ("chosen",)) for pair in range(len(pairs))]
    return Objective("pairs", items, tokens, lambda logps, counts, index: -logps)
