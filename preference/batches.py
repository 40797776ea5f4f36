"""From pairs to model inputs: the one place that knows how token sequences are laid out.

A pair whose two sides keep the same prompt is one sequence: prompt, chosen, rejected. The
rejected part does not see the chosen part, and its positions go on from the prompt, so that each
response has the log-probability that it would have in a sequence of its own. Any other pair, and
any single response, is plain sequences of prompt and response; both kinds share a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from preference.tables import Pairs

Side = Literal["chosen", "rejected"]
SIMILAR = 0.7  # a micro-batch's shortest row over its longest: more padding costs more than a pass
PADDING = -1  # segment of the positions that fill a row up


class Item(NamedTuple):
    """Responses of one pair that are scored together: both sides, or one."""

    pair: int
    sides: tuple[Side, ...]


BOTH: tuple[Side, ...] = ("chosen", "rejected")


class _Row(NamedTuple):
    prompt: np.ndarray
    responses: list[np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Model inputs and where the scored tokens are.

    Attributes:
        input_ids: (rows, tokens).
        position_ids: (rows, tokens); go on from the prompt in each response.
        segments: (rows, tokens); 0 prompt, 1 and 2 the row's responses, -1 padding.
        predicted_from: (scored,); flat index of the position that predicts each scored token.
        targets: (scored,); the scored tokens' ids.
        response: (scored,); which response of the batch each scored token belongs to.
        counts: (responses,); scored tokens of each response.
        shared: whether some row holds two responses.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    predicted_from: Tensor
    targets: Tensor
    response: Tensor
    counts: Tensor
    shared: bool

    def to(self, device: torch.device) -> "Batch":
        tensors: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def model_inputs(self) -> dict[str, Tensor]:
        """Keyword arguments for a transformers model.

        Plain rows are padded on the right, where causal attention never looks back from, so they
        need no mask. Shared rows get a boolean one, (rows, 1, tokens, tokens), true where a
        position may look: back, at the prompt or at its own response.
        """
        if not self.shared:
            return {"input_ids": self.input_ids}
        key, query = self.segments[:, None, None, :], self.segments[:, None, :, None]
        length = self.input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=key.device).tril()
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": ((key == query) | (key == 0)) & causal,
        }


def make(pairs: Pairs, items: Sequence[Item], share_prompts: bool) -> Batch:
    """Lay out items as one batch; its responses stand in the items' order, chosen first."""
    rows = [row for item in items for row in _rows(pairs, item, share_prompts)]
    width = max(len(prompt) + sum(map(len, responses)) for prompt, responses in rows)
    input_ids = np.zeros((len(rows), width), dtype=np.int64)
    position_ids = np.zeros((len(rows), width), dtype=np.int64)
    segments = np.full((len(rows), width), PADDING, dtype=np.int64)
    predicted_from, targets, counts = [], [], []
    for r, (prompt, responses) in enumerate(rows):
        start = len(prompt)
        input_ids[r, :start] = prompt
        position_ids[r, :start] = np.arange(start)
        segments[r, :start] = 0
        for segment, response in enumerate(responses, start=1):
            end = start + len(response)
            input_ids[r, start:end] = response
            position_ids[r, start:end] = len(prompt) + np.arange(len(response))
            segments[r, start:end] = segment
            before = np.arange(start - 1, end - 1)
            before[0] = len(prompt) - 1
            # Without a prompt the response's first token has nothing before it.
            first = 0 if len(prompt) else 1
            predicted_from.append(r * width + before[first:])
            targets.append(response[first:])
            counts.append(len(response) - first)
            start = end
    response_of = np.repeat(np.arange(len(counts)), counts)
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        segments=torch.from_numpy(segments),
        predicted_from=torch.from_numpy(np.concatenate(predicted_from)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        response=torch.from_numpy(response_of),
        counts=torch.tensor(counts),
        shared=any(len(responses) > 1 for _, responses in rows),
    )


def _rows(pairs: Pairs, item: Item, share_prompts: bool) -> Iterator[_Row]:
    prompt = pairs.prompt[item.pair]
    kept = {
        "chosen": pairs.chosen_prompt_tokens[item.pair],
        "rejected": pairs.rejected_prompt_tokens[item.pair],
    }
    responses = [getattr(pairs, side)[item.pair] for side in item.sides]
    if share_prompts and len({kept[side] for side in item.sides}) == 1:
        yield _Row(prompt[len(prompt) - kept[item.sides[0]] :], responses)
    else:
        for side, response in zip(item.sides, responses, strict=True):
            yield _Row(prompt[len(prompt) - kept[side] :], [response])


def shapes(pairs: Pairs, items: Sequence[Item], share_prompts: bool) -> np.ndarray:
    """Rows and longest row of each item, (items, 2), without laying it out."""
    index = np.array([item.pair for item in items], dtype=np.int64)
    prompt = {side: getattr(pairs, f"{side}_prompt_tokens")[index] for side in BOTH}
    length = {side: prompt[side] + getattr(pairs, side).lengths[index] for side in BOTH}
    both = np.array([len(item.sides) == 2 for item in items])
    chosen = np.array([item.sides[0] == "chosen" for item in items])
    shared = both & share_prompts & (prompt["chosen"] == prompt["rejected"])
    single = np.where(chosen, length["chosen"], length["rejected"])
    longest = np.where(both, np.maximum(length["chosen"], length["rejected"]), single)
    joined = length["chosen"] + length["rejected"] - prompt["rejected"]
    return np.stack([1 + (both & ~shared), np.where(shared, joined, longest)], axis=1)


def micro_batches(sizes: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Cut items into groups of similar length, each of at most `tokens_per_batch` positions.

    Args:
        sizes: rows and longest row of each item, (items, 2), as `shapes` gives them.
        tokens_per_batch: positions, padding included; an item that is larger stands alone.

    Returns:
        Indices into `sizes`, longest items first, so that memory runs out early or never.
    """
    groups: list[list[int]] = []
    rows = width = 0
    for index in np.argsort(-sizes[:, 1], kind="stable"):
        item_rows, item_width = sizes[index]
        fits = (rows + item_rows) * width <= tokens_per_batch
        if groups and fits and item_width >= SIMILAR * width:
            groups[-1].append(index)
            rows += item_rows
        else:
            groups.append([index])
            rows, width = item_rows, item_width
    return [np.array(group) for group in groups]
