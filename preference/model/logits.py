"""The LM head and the log-probabilities of given tokens, in one differentiable step.

Written apart, they keep several full tensors of (tokens, vocabulary), of which one in float32.
Here a part of the vocabulary at a time has its logits, in the precision of the product, and what
the backward pass cannot cheaply keep it computes again.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preference.model import cpu

P = ParamSpec("P")
R = TypeVar("R")
CHUNK = 2**26  # logits computed at a time
KEPT = 2**27  # logits kept for the backward pass; beyond, all are computed again
MULTIPLE = 64  # tokens are filled up to it: a CPU's products are compiled anew for every size


def token_logps(
    head: nn.Linear, states: Tensor, targets: Tensor, *, compiled: bool = False
) -> Tensor:
    """Log-probability of each target under the output layer; (tokens,), float32 or better.

    Args:
        head: the output layer, (vocabulary, width), with or without a bias.
        states: (tokens, width); the hidden state that predicts each target.
        targets: (tokens,).
        compiled: let torch compile the passes over the logits.
    """
    given = states, head.weight, head.bias, targets, compiled
    found: Tensor = _TokenLogps.apply(*given)  # type: ignore[no-untyped-call]
    return found


class _TokenLogps(torch.autograd.Function):
    """log softmax(W h + b)[target]; its gradient by the logits is onehot(target) - softmax."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        compiled: bool,
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
                log_sum = _run(_log_sum, compiled)
                parts.append(
                    torch.cat([log_sum(logits[rows], wide) for rows in _blocks(logits, compiled)])
                )
                place, inside = _place(targets, part)
                found += (logits.gather(1, place).to(wide) * inside).squeeze(1)
                if keep:
                    kept.append(logits)
        normalizers = torch.stack(parts).logsumexp(0)
        ctx.kept, ctx.compiled = kept, compiled
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
        for_states, for_weight, for_bias, *_ = ctx.needs_input_grad
        states = torch.zeros_like(x, dtype=normalizers.dtype) if for_states else None
        weight = (
            torch.empty_like(w, dtype=ctx.dtypes[1]) if for_weight and ctx.weight is None else None
        )
        bias = torch.empty_like(b, dtype=normalizers.dtype) if for_bias else None
        for number, part in enumerate(_parts(x, w)):
            logits = kept[number] if kept else F.linear(x, w[part], None if b is None else b[part])
            _differentiate(logits, targets, part, normalizers, gradient, ctx.compiled)
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
            None,
        )


def _differentiate(
    logits: Tensor,
    targets: Tensor,
    part: slice,
    normalizers: Tensor,
    gradient: Tensor,
    compiled: bool,
) -> None:
    """Overwrite the logits of a part of the vocabulary with their gradient."""
    place, inside = _place(targets, part)
    normalizers, scale = normalizers[:, None], -gradient[:, None]
    wide = logits.gather(1, place).to(normalizers.dtype)
    at_target = ((wide - normalizers).exp_() - 1).mul_(scale).to(logits.dtype)
    scaled_softmax = _run(_scaled_softmax, compiled)
    for rows in _blocks(logits, compiled):
        scaled_softmax(logits[rows], normalizers[rows], scale[rows])
    found = torch.where(inside, at_target, logits.gather(1, place))
    # A scatter would copy them all, to and fro.
    logits[torch.arange(len(place), device=place.device), place[:, 0]] = found[:, 0]


def _log_sum(logits: Tensor, dtype: torch.dtype) -> Tensor:
    return logits.to(dtype).logsumexp(1)


def _scaled_softmax(logits: Tensor, normalizers: Tensor, scale: Tensor) -> None:
    logits.copy_((logits.to(normalizers.dtype) - normalizers).exp_().mul_(scale))


def _run(function: Callable[P, R], compiled: bool) -> Callable[P, R]:
    return _compiled(function) if compiled else function


@cache
def _compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=True)


def _parts(x: Tensor, w: Tensor) -> Iterator[slice]:
    """Parts of the vocabulary whose logits are there at a time."""
    width = max(1, CHUNK // max(1, len(x)))
    return _slices(len(w), min(cpu.WIDTH, width) if x.device.type == "cpu" else width)


def _blocks(logits: Tensor, compiled: bool) -> Iterator[slice]:
    """Rows of a part, few enough for a CPU's cache; compiled, nothing of them is written there."""
    rows, width = logits.shape
    few = logits.device.type == "cpu" and not compiled
    return _slices(rows, cpu.BLOCK // width if few else rows)


def _place(targets: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Where targets stand in a part of the vocabulary, and which do; both (tokens, 1)."""
    place = targets[:, None] - part.start
    inside = (place >= 0) & (place < part.stop - part.start)
    return place.clamp(0, part.stop - part.start - 1), inside


def _slices(length: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
