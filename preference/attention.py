"""Attention over packed rows: each row by itself.

A model-wide mask over rows that lie end to end would be quadratic in all of them. Here a row is a
call of its own.

On a CPU in bf16, the kernel takes longer than the few products that it consists of, above all in
its backward pass; there it is written out, for models with as many keys as queries.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from preference.batches import Span

NAME = "by_row"
LONG = 512  # tokens of a row beyond which its weights, (heads, tokens, tokens), are not kept
# What a kernel call may be told beside these would change the numbers, and is not known here.
HARMLESS = ("is_causal", "use_cache", "output_attentions", "output_hidden_states", "position_ids")


def by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    spans: list[Span] | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of a packed batch.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads.
        attention_mask: none; the spans say it all.
        spans: the rows, in order; without them the batch is plain.

    Returns:
        (1, tokens, heads, width), and no weights.

    Raises:
        NotImplementedError: the model asks for attention that differs, a window or a soft cap.
    """
    if spans is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    scaling, dropout = settings.pop("scaling", None), settings.pop("dropout", 0.0)
    asked = [
        name
        for name, value in settings.items()
        if name not in HARMLESS and value is not None and value is not False
    ]
    if asked or attention_mask is not None:
        raise NotImplementedError(f"attention by row knows nothing of {asked or 'masks'}")
    found: list[Tensor] = []

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> None:
        if _slow_kernel(q, k, v) and not dropout and q.shape[1] == k.shape[1]:
            scale = q.shape[-1] ** -0.5 if scaling is None else scaling
            found.append(_Attention.apply(q, k, v, bias, scale).transpose(1, 2))  # type: ignore[no-untyped-call]
            return
        if bias is not None and q.dtype == torch.float64:
            bias = bias.double()
        out, _ = sdpa_attention_forward(
            module, q, k, v, bias, dropout=dropout, scaling=scaling, is_causal=bias is None
        )
        found.append(out)

    sizes = [span.tokens for span in spans]
    rows = (tensor.split(sizes, dim=2) for tensor in (query, key, value))
    for span, q, k, v in zip(spans, *rows, strict=True):
        attend(q, k, v, span.bias)
    return torch.cat(found, dim=1), None


def _slow_kernel(*tensors: Tensor) -> bool:
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16 for tensor in tensors)


class _Attention(torch.autograd.Function):
    """softmax(scale q k^T + bias) v, and its derivative by hand.

    Scores and softmax are in float32, the weights in the precision of the values. They grow by the
    square of a row: a long one is left to the kernel, and has them in its backward pass only.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        ctx.scale = scale
        if query.shape[-2] > LONG:
            ctx.save_for_backward(query, key, value, bias, None)
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, is_causal=bias is None, scale=scale
            )
        weights = _weights(query, key, bias, scale)
        ctx.save_for_backward(query, key, value, bias, weights)
        return weights @ value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, bias, weights = ctx.saved_tensors
        if weights is None:
            weights = _weights(query, key, bias, ctx.scale)
        for_weights = gradient @ value.mT
        for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
        for_query = (for_scores @ key).mul_(ctx.scale)
        for_key = (for_scores.mT @ query).mul_(ctx.scale)
        return for_query, for_key, weights.mT @ gradient, None, None


def _weights(query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(scale q k^T + bias) of one row, (1, heads, tokens, tokens); causal without a bias."""
    if bias is None:
        tokens = query.shape[-2]
        bias = torch.full((tokens, tokens), -torch.inf, device=query.device).triu_(1)
    # Autocast would round the scores.
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.baddbmm(bias, query[0].float(), key[0].float().mT, alpha=scale)
        return scores.softmax(-1).to(query.dtype)[None]


AttentionInterface.register(NAME, by_row)
