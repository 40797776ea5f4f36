"""Supervised fine-tuning: cross-entropy of the responses that the data prefer."""

from typing import TYPE_CHECKING

import numpy as np

from preference.objectives.batch import beside
from preference.objectives.objective import Task
from preference.store.examples import Examples, Index, Ragged

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
    responses = np.unique(examples.index.by_label()[0])
    # The first token of a response that fills max_length has nothing before it: not scored.
    tokens = examples.responses.lengths[responses] - (examples.prompt_tokens[responses] == 0)
    weights = examples.index.weights[responses]

    def loss(
        logps: "Tensor", counts: "Tensor", index: np.ndarray, statistic: "Tensor | None"
    ) -> "Tensor":
        return -logps * beside(logps, torch.from_numpy(weights[index]).to(logps.dtype))

    items = Ragged.of(responses, np.ones_like(responses))
    return Task("responses", examples, items, tokens * weights, loss)


def _with_earlier_answers(examples: Examples) -> Examples:
    """The desirable responses, and the answers in the prompts as responses of their own."""
    index = examples.index
    desirable = np.unique(index.by_label()[0])
    prompts, rows = list(examples.prompts), index.rows.tolist()
    responses = [examples.responses[response] for response in desirable]
    prompt_of = index.prompt_of[desirable].tolist()
    for prompt, ids, spans in zip(index.rows, examples.prompts, examples.answers, strict=True):
        for start, end in (len(ids) - spans).reshape(-1, 2).tolist():
            prompt_of.append(len(prompts))
            prompts.append(ids[:start])
            responses.append(ids[start:end])
            rows.append(prompt)
    earlier = np.ones(len(responses) - len(desirable))
    kept = [len(ids) for ids in prompts[len(index.rows) :]]
    found = Index(
        np.array(rows),
        np.array(prompt_of),
        np.zeros((0, 2), dtype=int),
        np.ones(len(responses), dtype=int),
        np.append(index.weights[desirable], earlier),
    )
    return Examples(
        found,
        Ragged.of(np.concatenate(prompts), np.array(list(map(len, prompts)))),
        Ragged.of(np.concatenate(responses), np.array(list(map(len, responses)))),
        np.append(examples.prompt_tokens[desirable], kept).astype(int),
    )
