"""Supervised fine-tuning: cross-entropy of the responses that the data prefer."""

from typing import TYPE_CHECKING

import numpy as np

from preference.objectives.objective import Task
from preference.store.examples import Examples, Ragged

if TYPE_CHECKING:
    from torch import Tensor


def task(examples: Examples) -> Task:
    """Each desirable response once; a step's loss is the mean over its tokens.

    A mean of the micro-batches' means would be that only if all had equally many tokens.
    """
    responses = np.unique(examples.index.by_label()[0])
    # The first token of a response that fills max_length has nothing before it: not scored.
    tokens = examples.responses.lengths[responses] - (examples.prompt_tokens[responses] == 0)
    weights = examples.index.weights[responses]

    def loss(
        logps: "Tensor", counts: "Tensor", index: np.ndarray, statistic: "Tensor | None"
    ) -> "Tensor":
        return -logps * logps.new_tensor(weights[index])

    items = Ragged.of(responses, np.ones_like(responses))
    return Task("responses", examples, items, tokens * weights, loss)
