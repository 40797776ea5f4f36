"""Attention over packed rows: each row by itself.

A model-wide mask over rows that lie end to end would be quadratic in all of them. Here a row is a
call of its own.

On a CPU in bf16, the kernel's backward pass takes longer than the few products that it consists of;
there it is written out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from preference.batches import Span

NAME = "by_row"
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
        if _slow_backward(q, k, v) and not dropout and q.shape[1] == k.shape[1]:
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


def _slow_backward(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and all(
        tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16 for tensor in tensors
    )


class _Attention(torch.autograd.Function):
    """The kernel's forward pass; backward, softmax(scale q k^T + bias) v differentiated by hand.

    The weights are computed again, in float32, so that none are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        ctx.scale = scale
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=bias is None, scale=scale
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, bias = ctx.saved_tensors
        scores = (query.float() * ctx.scale) @ key.float().mT
        if bias is None:
            bias = scores.new_full(scores.shape[-2:], -torch.inf).triu_(1)
        weights = scores.add_(bias).softmax(-1)
        for_weights = (gradient @ value.mT).float()
        for_scores = torch._softmax_backward_data(for_weights, weights, -1, torch.float32)
        for_scores = for_scores.to(query.dtype)
        for_query = (for_scores @ key).mul_(ctx.scale)
        for_key = (for_scores.mT @ query).mul_(ctx.scale)
        return for_query, for_key, weights.to(query.dtype).mT @ gradient, None, None


AttentionInterface.register(NAME, by_row)
