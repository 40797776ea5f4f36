"""From examples to model inputs: collating, the one place that knows how sequences are laid out.

A row is a prompt and the responses that follow it. An item whose responses keep the same part of
their prompt is one row: prompt, first response, second response. No response sees another, and the
positions of each go on from the prompt, so that each has the log-probability that it would have in
a sequence of its own. Of any other item, each response is a row; both kinds share a batch. Rows lie
side by side, padded to the longest, or end to end in one sequence without padding.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from preference.model.attention import varlen
from preference.model.attention.packing import PADDING, Packing
from preference.model.attention.varlen import Sequences
from preference.store.examples import Examples, Ragged

# plain: a response a row, padded; shared: an item's responses in a row, padded and masked; packed:
# an item's responses in a row, the rows end to end, attention row by row (see `attention`).
Layout = Literal["plain", "shared", "packed"]
SIMILAR = 0.7  # a micro-batch's shortest row over its longest: more padding costs more than a pass
# Positions that a GPU's pass should have, whatever padding that takes: of fewer, by arithmetic than
# some 300 (8B) to 4,000 (GPT-2 124M), it is over while the next is launched.
LEAST = 2048
# Packed batches are filled up to a multiple, large ones to another: a CPU's products are compiled
# anew for every size, and each that was compiled keeps a megabyte.
SMALL, LARGE, FROM = 16, 64, 1024


class _Row(NamedTuple):
    prompt: np.ndarray
    responses: list[np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Model inputs and where the scored tokens are.

    Attributes:
        input_ids: (rows, tokens), or (1, tokens) where the rows are packed.
        position_ids: as `input_ids`; go on from the prompt in each response.
        segments: as `input_ids`; 0 prompt, from 1 on the row's responses, or `PADDING`.
        predicted_from: (scored,); flat index of the position that predicts each scored token.
        targets: (scored,); the scored tokens' ids.
        response: (scored,); which response of the batch each scored token belongs to.
        counts: (responses,); scored tokens of each response.
        shared: whether some row holds more than one response.
        lengths: positions that each packed row takes, the last one may be nothing but padding;
            none where rows are not packed.
        weights: (scored,), float32; how much each scored token counts in its response's sum; None
            where all count alike.
        sequences: packed rows for a GPU's kernel, on such a device.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    predicted_from: Tensor
    targets: Tensor
    response: Tensor
    counts: Tensor
    shared: bool
    lengths: tuple[int, ...] = ()
    weights: Tensor | None = None
    sequences: Sequences | None = None

    def ready_for(self, device: torch.device) -> "Batch":
        """The same, with all that is made on the host for its copy on a device."""
        if device.type != "cuda":
            return self
        sequences = self.sequences
        if self.lengths and sequences is None:
            sequences = varlen.plan(self.segments[0].numpy(), self.lengths)
        # From such memory a GPU copies by itself.
        return replace(self, sequences=sequences).each(Tensor.pin_memory)

    def to(self, device: torch.device) -> "Batch":
        return self.ready_for(device).each(lambda tensor: tensor.to(device, non_blocking=True))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        if self.sequences is not None:
            changed["sequences"] = self.sequences.each(change)
        return replace(self, **changed)

    def model_inputs(self) -> dict[str, Any]:
        """Keyword arguments for a transformers model.

        Packed rows come with their packing, which `attention.by_row` takes. Plain rows are padded
        on the right, where causal attention never looks back from, so they need no mask. Shared
        rows get a boolean one, (rows, 1, tokens, tokens), true where a position may look: back,
        at the prompt or at its own response.
        """
        if self.lengths:
            return {
                "input_ids": self.input_ids,
                "position_ids": self.position_ids,
                "packing": Packing(self.segments[0], self.lengths, self.shared, self.sequences),
            }
        if not self.shared:
            return {"input_ids": self.input_ids}
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": _may_look(self.segments)[:, None],
        }


def _may_look(segments: Tensor) -> Tensor:
    """Where each position may look, (..., tokens, tokens): back, at its own segment or a prompt."""
    key, query = segments[..., None, :], segments[..., :, None]
    return ((key == query) | (key == 0)).tril()


def make(examples: Examples, items: Sequence[np.ndarray] | np.ndarray, layout: Layout) -> Batch:
    """Lay out items, each the responses of one prompt, as a batch; they keep their order."""
    rows = [row for item in items for row in _rows(examples, item, layout != "plain")]
    lengths = np.array([len(prompt) + sum(map(len, responses)) for prompt, responses in rows])
    packed = layout == "packed"
    if packed:
        filling = -int(lengths.sum()) % (LARGE if lengths.sum() >= FROM else SMALL)
        lengths = np.append(lengths, filling) if filling else lengths
    shape = (1, int(lengths.sum())) if packed else (len(rows), int(lengths.max()))
    starts = np.append(0, np.cumsum(lengths)) if packed else np.arange(len(rows)) * shape[1]
    input_ids, position_ids, segments = np.zeros((3, shape[0] * shape[1]), dtype=np.int64)
    segments[:] = PADDING
    predicted_from, targets, counts = [], [], []
    for row_start, (prompt, responses) in zip(starts.tolist(), rows, strict=False):
        start = row_start + len(prompt)
        input_ids[row_start:start] = prompt
        position_ids[row_start:start] = np.arange(len(prompt))
        segments[row_start:start] = 0
        last_of_prompt = start - 1
        for segment, response in enumerate(responses, start=1):
            end = start + len(response)
            input_ids[start:end] = response
            position_ids[start:end] = len(prompt) + np.arange(len(response))
            segments[start:end] = segment
            before = np.arange(start - 1, end - 1)
            before[0] = last_of_prompt
            # Without a prompt the response's first token has nothing before it.
            first = 0 if len(prompt) else 1
            predicted_from.append(before[first:])
            targets.append(response[first:])
            counts.append(len(response) - first)
            start = end
    response_of = np.repeat(np.arange(len(counts)), counts)
    return Batch(
        input_ids=torch.from_numpy(input_ids.reshape(shape)),
        position_ids=torch.from_numpy(position_ids.reshape(shape)),
        segments=torch.from_numpy(segments.reshape(shape)),
        predicted_from=torch.from_numpy(np.concatenate(predicted_from)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        response=torch.from_numpy(response_of),
        counts=torch.tensor(counts),
        shared=any(len(responses) > 1 for _, responses in rows),
        lengths=tuple(lengths.tolist()) if packed else (),
        weights=_weights(examples, np.concatenate(list(items)), counts),
    )


def _weights(examples: Examples, responses: np.ndarray, counts: list[int]) -> Tensor | None:
    """How much each scored token counts, where a part of a response counts otherwise."""
    if examples.public is None:
        return None
    parts = []
    for response, count in zip(responses, counts, strict=True):
        place = np.arange(count) + len(examples.responses[response]) - count
        parts.append(np.where(place < examples.public[response], 1.0, examples.beyond))
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def _rows(examples: Examples, item: np.ndarray, share_prompts: bool) -> Iterator[_Row]:
    prompt = examples.prompts[examples.index.prompt_of[item[0]]]
    responses = [examples.responses[response] for response in item]
    kept = examples.prompt_tokens[item].tolist()
    if share_prompts and len(set(kept)) == 1:
        yield _Row(prompt[len(prompt) - kept[0] :], responses)
    else:
        for tokens, response in zip(kept, responses, strict=True):
            yield _Row(prompt[len(prompt) - tokens :], [response])


def shapes(examples: Examples, items: Ragged, layout: Layout) -> np.ndarray:
    """Rows and longest row of each item, (items, 2), without laying it out.

    Packed, an item counts as one row of all the positions that it takes, without what fills up.
    """
    kept, starts = examples.prompt_tokens[items.values], items.starts
    lengths = kept + examples.responses.lengths[items.values]
    alike = np.minimum.reduceat(kept, starts) == np.maximum.reduceat(kept, starts)
    shared = alike & (layout != "plain")
    joined = np.add.reduceat(lengths - kept, starts) + kept[starts]
    if layout == "packed":
        taken = np.where(shared, joined, np.add.reduceat(lengths, starts))
        return np.stack([np.ones_like(taken), taken], axis=1)
    longest = np.maximum.reduceat(lengths, starts)
    return np.stack([np.where(shared, 1, items.lengths), np.where(shared, joined, longest)], axis=1)


def least(device: torch.device) -> int:
    """Positions that a pass should have there, whatever padding that takes."""
    return 0 if device.type == "cpu" else LEAST


def micro_batches(
    sizes: np.ndarray, tokens_per_batch: int, layout: Layout, least: int = 0
) -> list[np.ndarray]:
    """Cut items into groups, each of at most `tokens_per_batch` positions.

    Padded rows are grouped by similar length, packed ones into groups of nearly equal size.

    Args:
        sizes: rows and longest row of each item, (items, 2), as `shapes` gives them.
        tokens_per_batch: positions, padding included; an item that is larger stands alone.
        least: positions up to which padded rows share a group, however they differ.

    Returns:
        Indices into `sizes`, longest items first, so that memory runs out early or never.
    """
    order = np.argsort(-sizes[:, 1], kind="stable")
    if layout == "packed":
        groups = _even(sizes[:, 1], order, tokens_per_batch)
    else:
        groups = _similar(sizes, order, tokens_per_batch, least)
    return [np.array(group) for group in groups]


def _even(tokens: np.ndarray, order: np.ndarray, budget: int) -> list[list[int]]:
    """As few groups as the budget allows, each item to the lightest one."""
    wanted = max(1, -(-int(tokens.sum()) // budget))
    while True:
        groups: list[list[int]] = [[] for _ in range(wanted)]
        lightest = [(0, group) for group in range(wanted)]
        for index in order:
            total, group = lightest[0]
            if total and total + tokens[index] > budget:
                # Whole items do not divide so evenly: try with more groups.
                break
            groups[group].append(index)
            heapq.heapreplace(lightest, (total + int(tokens[index]), group))
        else:
            return [group for group in groups if group]
        wanted += max(1, wanted // 50)


def _similar(sizes: np.ndarray, order: np.ndarray, budget: int, least: int) -> list[list[int]]:
    """Groups of similar length: each opened by its longest item."""
    groups: list[list[int]] = []
    rows = width = 0
    for index in order:
        item_rows, item_width = sizes[index]
        positions = (rows + item_rows) * width
        alike = item_width >= SIMILAR * width or positions <= least
        if groups and alike and positions <= budget:
            groups[-1].append(index)
            rows += item_rows
        else:
            groups.append([index])
            rows, width = item_rows, item_width
    return groups
