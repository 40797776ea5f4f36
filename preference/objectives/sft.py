"""Supervised fine-tuning: cross-entropy of the responses that the data prefer."""

from typing import TYPE_CHECKING

import numpy as np

from preference.objectives.batch import beside
from preference.objectives.objective import Task
from preference.store.examples import Examples, Ragged
from preference.store.index import Index

if TYPE_CHECKING:
    from torch import Tensor


def task(examples: Examples, *, all_turns: bool = False) -> Task:
    """Each desirable response once; a step's loss is the mean over its tokens.

    Args:
        all_turns: and each earlier answer in their prompts, as a response to what is before it.

    A mean of the micro-batches' means would be that only if all had equally many tokens.
    """
    import torch

    if all_turns:
        examples = _with_earlier_answers(examples)
    index, prompt_tokens = examples.index, examples.prompt_tokens
    responses = index.desirable

    def weights(which: np.ndarray) -> np.ndarray:
        visited = responses[which]
        # The first token of a response that fills max_length has nothing before it: not scored.
        tokens = examples.responses.lengths[visited] - (prompt_tokens[visited] == 0)
        return tokens * index.weights[visited]

    def loss(
        logps: "Tensor", counts: "Tensor", which: np.ndarray, statistic: "Tensor | None"
    ) -> "Tensor":
        counted = torch.tensor(index.weights[responses[which]], dtype=logps.dtype)
        return -logps * beside(logps, counted)

    return Task("responses", examples, responses[:, None], weights, loss)


def _with_earlier_answers(examples: Examples) -> Examples:
    """The desirable responses, and the answers in the prompts as responses of their own."""
    index, prompts, responses = examples.index, examples.prompts, examples.responses
    desirable, (begin, end) = index.desirable, examples.answers.values.reshape(-1, 2).T
    # Which prompt each earlier answer is in, but those that are cut off, and what stands before.
    inside = np.repeat(np.arange(len(prompts)), examples.answers.lengths // 2)
    begin, end, inside = (each[begin > end] for each in (begin, end, inside))
    before = prompts.lengths[inside] - begin
    # Responses of both kinds are parts of one array.
    values, shift = responses.values, 0
    if prompts.values is not values:
        values, shift = np.append(prompts.values, values), len(prompts.values)
    found = Index(
        np.append(index.rows, index.rows[inside]),
        np.append(index.prompt_of[desirable], len(prompts) + np.arange(len(inside))),
        np.zeros((0, 2), dtype=int),
        np.ones(len(desirable) + len(inside), dtype=int),
        np.append(index.weights[desirable], np.ones(len(inside))),
    )
    return Examples(
        found,
        Ragged(
            prompts.values,
            np.append(prompts.starts, prompts.starts[inside]),
            np.append(prompts.lengths, before),
        ),
        Ragged(
            values,
            np.append(responses.starts[desirable] + shift, prompts.starts[inside] + before),
            np.append(responses.lengths[desirable], begin - end),
        ),
        np.append(examples.prompt_tokens[desirable], before),
    )
