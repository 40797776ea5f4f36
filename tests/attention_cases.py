"""Attention of packed rows in bf16, and how far it is from the kernel in float64."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from preference.model.attention.packing import Span, filling

WIDTH = 16


def tensors(
    tokens: int, heads: int, shared: int, width: int = WIDTH, query_width: int = WIDTH
) -> tuple[Tensor, Tensor, Tensor]:
    """A query, a key and a value of this width."""
    torch.manual_seed(0)
    shapes = ((heads, query_width), (shared, query_width), (shared, width))
    drawn = (torch.randn(1, tokens, *shape).transpose(1, 2) for shape in shapes)
    q, k, v = (tensor.bfloat16().requires_grad_() for tensor in drawn)
    return q, k, v


def causal(tokens: int) -> Tensor:
    return torch.full((tokens, tokens), -torch.inf).triu_(1)


def two_responses(tokens: int) -> Tensor:
    """The last two positions do not see the two before them; filled up to 16."""
    bias = causal(tokens + filling(tokens))
    bias[tokens - 2 :, tokens - 4 : tokens - 2] = -torch.inf
    return bias


def exact(given: Sequence[Tensor], spans: list[Span], scale: float) -> Tensor:
    """By the kernel, row by row: (1, tokens, heads, width)."""
    rows = zip(*(tensor.split([span.tokens for span in spans], 2) for tensor in given), strict=True)
    found = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            (causal(n) if bias is None else bias[:n, :n]).double(),
            scale=scale,
            enable_gqa=True,
        )
        for (n, bias), (q, k, v) in zip(spans, rows, strict=True)
    ]
    return torch.cat(found, 2).transpose(1, 2)


def errors(
    attention: Callable[..., Tensor], given: Sequence[Tensor], spans: list[Span], scale: float = 0.7
) -> float:
    """The largest of its output and of its gradients, as a share of their size; NaN if one is.

    bf16 keeps 8 bits, and gradients go through three tensors of it.
    """
    wide = [tensor.detach().double().requires_grad_() for tensor in given]
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(*given, spans, scale)
    assert out.dtype == torch.bfloat16
    expected = exact(wide, spans, scale)
    direction = torch.randn(out.shape).bfloat16()
    found = (out.detach(), *torch.autograd.grad(out, given, direction))
    known = (expected.detach(), *torch.autograd.grad(expected, wide, direction.double()))
    pairs = zip(found, known, strict=True)
    return float(torch.stack([(one - other).norm() / other.norm() for one, other in pairs]).max())
