"""Packed rows as sequences of variable length, which a GPU's kernel takes in one call.

A row is as many sequences as it has responses: its prompt and first response, which look at
themselves, and each further response, whose keys are the prompt's and then its own. Causal
attention is aligned to the lower right: the last query looks at all keys. So it needs no mask, and
no row sees another. (Prompts shared in packed batches: Wang and Hegde 2024, arXiv:2410.20305,
Accelerating Direct Preference Optimization with Prefix Sharing.)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)  # the kernel knows no other
CAUSAL = (-1, 0)  # so far back and ahead may a query look; -1: all the way


class Sequences(NamedTuple):
    """Where the sequences of a packed batch lie.

    Attributes:
        cu_q: (sequences + 1,), int32; where the queries of each begin, and the end.
        cu_k: the same of its keys.
        max_q: queries of the longest.
        max_k: keys of the longest.
        keys: (keys,), int32; the position that each key is of; None where keys are as queries are.
    """

    cu_q: Tensor
    cu_k: Tensor
    max_q: int
    max_k: int
    keys: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        keys = None if self.keys is None else change(self.keys)
        return self._replace(cu_q=change(self.cu_q), cu_k=change(self.cu_k), keys=keys)


def plan(segments: np.ndarray, lengths: Sequence[int]) -> Sequences:
    """The sequences of packed rows.

    Args:
        segments: (tokens,); 0 prompt, from 1 on the row's responses, -1 what fills a batch up, as
            a row by itself.
        lengths: positions of each row.
    """
    tokens = len(segments)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    opens = np.append(True, np.diff(row_of) > 0)
    further = (segments > 1) & np.append(True, np.diff(segments) != 0)
    starts = np.flatnonzero(opens | further)
    q = np.diff(np.append(starts, tokens))
    prompts = np.bincount(row_of[segments == 0], minlength=len(lengths))
    seen = np.where(opens[starts], 0, prompts[row_of[starts]])
    cu_q, cu_k = (np.append(0, np.cumsum(found)) for found in (q, q + seen))
    keys = None
    if seen.any():
        first = np.flatnonzero(opens)[row_of[starts]]
        place = np.arange(cu_k[-1]) - np.repeat(cu_k[:-1], q + seen)
        own = place - np.repeat(seen, q + seen)
        of_prompt = np.repeat(first, q + seen) + place
        keys = np.where(own < 0, of_prompt, np.repeat(starts, q + seen) + own)
    return Sequences(
        _int32(cu_q),
        _int32(cu_k),
        int(q.max()),
        int((q + seen).max()),
        None if keys is None else _int32(keys),
    )


def _int32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int32))


def takes(value: Tensor) -> bool:
    """Whether the kernel is there for such values."""
    # Autocast rounds the values alone where rotary positions are in float32.
    return value.device.type == "cuda" and value.dtype in HALF


def attention(
    query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scaling: float | None
) -> Tensor:
    """Scaled dot-product attention of a packed batch, in the precision of the values.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads, each for as many
            queries in turn.
        scaling: None stands for the usual 1 / sqrt(width).

    Returns:
        (1, tokens, heads, width).

    Raises:
        RuntimeError: the kernel knows no such width, or not this GPU.
    """
    # It registers what a CPU has no use for.
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor.squeeze(0).transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    if sequences.keys is not None:
        k, v = (tensor.index_select(0, sequences.keys) for tensor in (k, v))
    found = varlen_attn(
        q,
        k,
        v,
        sequences.cu_q,
        sequences.cu_k,
        sequences.max_q,
        sequences.max_k,
        scale=scaling,
        window_size=CAUSAL,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    assert isinstance(found, Tensor)
    return found.unsqueeze(0)
