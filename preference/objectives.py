"""What training needs to know of an objective, and SFT as the first one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from preference.batches import Item
from preference.tables import Pairs


@dataclass(frozen=True)
class Objective:
    """Items and their loss, all that `training.fit` knows of an objective.

    Attributes:
        unit: what one item is, for people.
        items: what is visited as a whole, (items,): the responses of an example, or of several.
        weights: (items,); a step's loss is the sum of its items' losses over the sum of their
            weights.
        loss: from the log-probabilities of a micro-batch (responses,), their token counts
            (responses,) and the items' indices (micro-batch,) to losses in nats, (micro-batch,),
            each the sum over the item's examples.
        examples: how many of those that a step's size counts are in one item.
    """

    unit: str
    items: list[Item]
    weights: np.ndarray
    loss: Callable[[Tensor, Tensor, np.ndarray], Tensor]
    examples: int = 1


def sft(pairs: Pairs) -> Objective:
    """Supervised fine-tuning: cross-entropy of the chosen responses, a mean over a step's tokens.

    A mean of the micro-batches' means would be that only if all had equally many tokens.
    """
    # The first token of a response that fills max_length has nothing before it: not scored.
    tokens = pairs.chosen.lengths - (pairs.chosen_prompt_tokens == 0)
    items = [Item(pair, ("chosen",)) for pair in range(len(pairs))]
    return Objective("pairs", items, tokens, lambda logps, counts, index: -logps)
