"""The output layer and the log-probabilities of given tokens, in one differentiable step.

Written apart, they keep several full tensors of (tokens, vocabulary), of which one in float32.
Here a chunk of tokens at a time has its logits, in the precision of the product, and what the
backward pass cannot cheaply keep it computes again.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 2**26  # logits computed at a time
KEPT = 2**27  # logits kept for the backward pass; beyond, all are computed again
BLOCK = 2**20  # logits that a CPU widens to float32 at a time: they stay in its cache


def token_logps(head: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target under the output layer; (tokens,), float32 or better.

    Args:
        head: the output layer, (vocabulary, width), with or without a bias.
        states: (tokens, width); the hidden state that predicts each target.
        targets: (tokens,).
    """
    return _TokenLogps.apply(states, head.weight, head.bias, targets)  # type: ignore[no-untyped-call]


class _TokenLogps(torch.autograd.Function):
    """log softmax(W h + b)[target]; its gradient by the logits is onehot(target) - softmax."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        kind = states.device.type
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else weight.dtype
        ctx.dtypes = states.dtype, weight.dtype
        x, w = states.to(dtype), weight.to(dtype)
        b = None if bias is None else bias.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        normalizers, logps = (torch.empty(len(x), dtype=wide, device=x.device) for _ in range(2))
        keep = any(ctx.needs_input_grad) and len(x) * len(w) <= KEPT
        kept = []
        with torch.autocast(kind, enabled=False):
            for chunk in _slices(len(x), CHUNK // len(w)):
                logits = F.linear(x[chunk], w, b)
                for rows, block in _blocks(logits, chunk.start):
                    wider = block.to(wide)
                    normalizers[rows] = wider.logsumexp(1)
                    logps[rows] = wider.gather(1, targets[rows, None]).squeeze(1)
                if keep:
                    kept.append(logits)
        logps -= normalizers
        ctx.kept = kept
        ctx.save_for_backward(x, w, b, targets, normalizers)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, w, b, targets, normalizers = ctx.saved_tensors
        # Each is overwritten with its gradient; a second backward pass computes them again.
        kept, ctx.kept = ctx.kept, []
        for_states, for_weight, for_bias, _ = ctx.needs_input_grad
        states = torch.empty_like(x) if for_states else None
        weight = bias = None
        for number, chunk in enumerate(_slices(len(x), CHUNK // len(w))):
            logits = kept[number] if kept else F.linear(x[chunk], w, b)
            for rows, block in _blocks(logits, chunk.start):
                softmax = (block.to(normalizers.dtype) - normalizers[rows, None]).exp_()
                scale = -gradient[rows, None].to(softmax.dtype)
                softmax.scatter_add_(1, targets[rows, None], -torch.ones_like(scale))
                block.copy_(softmax.mul_(scale))
            if states is not None:
                states[chunk] = logits @ w
            if for_weight:
                part = logits.t() @ x[chunk]
                weight = part.to(ctx.dtypes[1]) if weight is None else weight.add_(part)
            if for_bias:
                total = logits.sum(0, dtype=normalizers.dtype)
                bias = total if bias is None else bias.add_(total)
        return (
            None if states is None else states.to(ctx.dtypes[0]),
            weight,
            None if bias is None else bias.to(ctx.dtypes[1]),
            None,
        )


def _slices(length: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _blocks(logits: Tensor, offset: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows of a chunk, small enough for the cache on a CPU, with where they stand in the whole."""
    rows, vocabulary = logits.shape
    for part in _slices(rows, BLOCK // vocabulary if logits.device.type == "cpu" else rows):
        yield slice(offset + part.start, offset + part.stop), logits[part]
