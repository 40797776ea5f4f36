"""Attention of packed rows in bf16 on a CPU, written out: a GPU has no use for it.

The kernel takes longer than the few products that it consists of, above all in its backward pass.
All rows are one step of autograd, since one for each costs as much as a small row; queries that
share their keys are rows of one product.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from preference.model.attention.packing import Span, filling

LONG = 512  # tokens of a row beyond which its weights, (heads, tokens, tokens), are not kept


def takes(value: Tensor) -> bool:
    """Whether `attention` is faster than the kernel for such values."""
    # Autocast rounds the values alone where rotary positions are in float32.
    return value.device.type == "cpu" and value.dtype == torch.bfloat16


def attention(
    query: Tensor, key: Tensor, value: Tensor, spans: Sequence[Span], scaling: float | None
) -> Tensor:
    """softmax(scaling q k^T + bias) v of each row, in the precision of the values.

    Scores and softmax are in float32, the weights in the precision of the values. They grow by the
    square of a row: those of a long one are there for one head of its keys at a time, and computed
    again for the backward pass.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads, each for as many
            queries in turn, and values another width.
        spans: the rows, which lie end to end.
        scaling: None stands for the usual 1 / sqrt(width).

    Returns:
        (1, tokens, heads, width of the values).
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)
    found: Tensor = _Attention.apply(query, key, value, spans, scale)  # type: ignore[no-untyped-call]
    return found


class _Attention(torch.autograd.Function):
    """The formula of `attention`, and its derivative by hand."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, spans: Sequence[Span], scale: float
    ) -> Tensor:
        ctx.spans, ctx.scale = spans, scale
        found = query.new_empty(*query.transpose(1, 2).shape[:3], value.shape[-1])
        kept: list[Tensor | None] = []
        with _plain_products():
            for span, (*parts, out) in _parts(spans, query, key, value, found.transpose(1, 2)):
                q, k, v = (_filled(part, span) for part in parts)
                weights = _weights(q, k, span.bias, scale)
                each = torch.bmm(_grouped(weights, k), v).view(len(q), -1, v.shape[-1])
                out.copy_(each[:, : span.tokens])
                kept += [q, k, v, weights if span.tokens <= LONG else None]
        ctx.save_for_backward(*kept)
        ctx.shapes = [tensor.transpose(1, 2).shape for tensor in (query, key, value)]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        for_inputs = [gradient.new_empty(shape).transpose(1, 2) for shape in ctx.shapes]
        parts = _parts(ctx.spans, *for_inputs, gradient.transpose(1, 2))
        # Where activations are not kept, this computes them, and can be asked once.
        saved = ctx.saved_tensors
        kept = zip(*(saved[place::4] for place in range(4)), strict=True)
        with _plain_products():
            for (span, (*found, given)), (q, k, v, weights) in zip(parts, kept, strict=True):
                had = _weights(q, k, span.bias, ctx.scale) if weights is None else weights
                _backward(q, k, v, had, _filled(given, span), ctx.scale, found)
        return *for_inputs, None, None


def _parts(spans: Sequence[Span], *tensors: Tensor) -> Iterator[tuple[Span, tuple[Tensor, ...]]]:
    """Each row's part of a query, a key and other tensors, (heads, tokens, width).

    The heads of a long row come apart, by the keys that they share: its weights are large.
    """
    sizes = [span.tokens for span in spans]
    split = (tensor.squeeze(0).split(sizes, dim=1) for tensor in tensors)
    for span, row in zip(spans, zip(*split, strict=True), strict=True):
        many = len(row[1]) if span.tokens > LONG else 1
        for part in zip(*(tensor.chunk(many) for tensor in row), strict=True):
            yield span, part


def _filled(part: Tensor, span: Span) -> Tensor:
    """Contiguous, as products would make it each for itself, with zeros at the end of each head."""
    return F.pad(part, (0, 0, 0, filling(span.tokens))).contiguous()


def _grouped(rows: Tensor, key: Tensor) -> Tensor:
    """Rows of all heads, those that share keys one after the other: (heads of `key`, ., .)."""
    heads, tokens, width = rows.shape
    return rows.view(len(key), heads // len(key) * tokens, width)


def _weights(query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(scaling q k^T + bias) of one row, (heads, tokens, tokens)."""
    tokens = query.shape[1]
    if bias is None:
        bias = torch.full((tokens, tokens), -torch.inf, device=query.device).triu_(1)
    products = torch.bmm(_grouped(query.float(), key), key.float().mT)
    scores = products.view(-1, tokens, tokens)
    # In place: each pass over a tensor that is new would cost as much as its numbers.
    torch.add(bias, scores, alpha=scale, out=scores)
    return torch.softmax(scores, -1, out=scores).to(query.dtype)


def _backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Tensor,
    gradient: Tensor,
    scale: float,
    found: Sequence[Tensor],
) -> None:
    """Write the gradients for one row's query, key and value into `found`."""
    gradient, grouped, weights = (_grouped(each, key) for each in (gradient, query, weights))
    for_weights = torch.bmm(gradient, value.mT)
    for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
    for_query, for_key, for_value = found
    tokens = for_query.shape[1]
    torch.mul(torch.bmm(for_scores, key).view(query.shape)[:, :tokens], scale, out=for_query)
    torch.mul(_transposed_product(for_scores, grouped)[:, :tokens], scale, out=for_key)
    for_value.copy_(_transposed_product(weights, gradient)[:, :tokens])


def _transposed_product(one: Tensor, other: Tensor) -> Tensor:
    """As a batch of one, the transposed factor would be copied: seventeen times as long."""
    return (one[0].mT @ other[0])[None] if len(one) == 1 else torch.bmm(one.mT, other)


@contextmanager
def _plain_products() -> Iterator[None]:
    """No autocast, which would round scores; and float32 products by the unit for bf16.

    What they multiply has been bf16 before, so that nothing is lost: sums are in float32.
    """
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        products.fp32_precision = before
