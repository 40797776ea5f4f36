"""The LM head and the log-probabilities of given tokens, in one differentiable step.

Written apart, they keep several full tensors of (tokens, vocabulary), of which one in float32.
Here a part of the vocabulary at a time has its logits, in the precision of the product, and what
the backward pass cannot cheaply keep it computes again.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preference.model import cpu

CHUNK = 2**26  # logits computed at a time
KEPT = 2**27  # logits kept for the backward pass; beyond, all are computed again
MULTIPLE = 64  # tokens are filled up to it: a CPU's products are compiled anew for every size


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
        ctx.weight = weight if cpu.in_place(weight) else None
        tokens = len(states)
        filling = -tokens % MULTIPLE
        x, w = F.pad(states.to(dtype), (0, 0, 0, filling)), weight.to(dtype)
        targets = F.pad(targets, (0, filling))
        b = None if bias is None else bias.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        keep = any(ctx.needs_input_grad) and len(x) * len(w) <= KEPT
        kept, parts = [], []
        found = torch.zeros(len(x), dtype=wide, device=x.device)
        with torch.autocast(kind, enabled=False):
            for part in _parts(x, w):
                logits = F.linear(x, w[part], None if b is None else b[part])
                normalizers = torch.empty_like(found)
                for rows in _blocks(logits):
                    wider = logits[rows].to(wide)
                    normalizers[rows] = wider.logsumexp(1)
                    place, inside = _place(targets[rows], part)
                    found[rows] += wider.gather(1, place).squeeze(1) * inside
                parts.append(normalizers)
                if keep:
                    kept.append(logits)
        normalizers = torch.stack(parts).logsumexp(0)
        ctx.kept = kept
        ctx.save_for_backward(x, w, b, targets, normalizers)
        return (found - normalizers)[:tokens]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, b, targets, normalizers = ctx.saved_tensors
        (gradient,) = gradients
        tokens = len(gradient)
        gradient = F.pad(gradient, (0, len(x) - tokens)).to(normalizers.dtype)
        # Each is overwritten with its gradient; a second backward pass computes them again.
        kept, ctx.kept = ctx.kept, []
        for_states, for_weight, for_bias, _ = ctx.needs_input_grad
        states = torch.zeros_like(x, dtype=normalizers.dtype) if for_states else None
        weight = (
            torch.empty_like(w, dtype=ctx.dtypes[1]) if for_weight and ctx.weight is None else None
        )
        bias = torch.empty_like(b, dtype=normalizers.dtype) if for_bias else None
        for number, part in enumerate(_parts(x, w)):
            logits = kept[number] if kept else F.linear(x, w[part], None if b is None else b[part])
            for rows in _blocks(logits):
                softmax = (logits[rows].to(normalizers.dtype) - normalizers[rows, None]).exp_()
                scale = -gradient[rows, None]
                place, inside = _place(targets[rows], part)
                softmax.scatter_add_(1, place, -inside[:, None].to(softmax.dtype))
                logits[rows] = softmax.mul_(scale)
            if states is not None:
                states += logits @ w[part]
            if for_weight:
                product = logits.t() @ x
                if ctx.weight is not None:
                    cpu.add(ctx.weight, part.start, product)
                elif weight is not None:
                    weight[part] = product
            if bias is not None:
                bias[part] = logits.sum(0, dtype=normalizers.dtype)
        return (
            None if states is None else states[:tokens].to(ctx.dtypes[0]),
            weight,
            None if bias is None else bias.to(ctx.dtypes[1]),
            None,
        )


def _parts(x: Tensor, w: Tensor) -> Iterator[slice]:
    """Parts of the vocabulary whose logits are there at a time."""
    width = max(1, CHUNK // max(1, len(x)))
    return _slices(len(w), min(cpu.WIDTH, width) if x.device.type == "cpu" else width)


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Rows of a part, few enough for the cache on a CPU."""
    rows, width = logits.shape
    return _slices(rows, cpu.BLOCK // width if logits.device.type == "cpu" else rows)


def _place(targets: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Where targets stand in a part of the vocabulary, (tokens, 1), and which do, (tokens,)."""
    place = targets - part.start
    inside = (place >= 0) & (place < part.stop - part.start)
    return place.clamp(0, part.stop - part.start - 1)[:, None], inside


def _slices(length: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
