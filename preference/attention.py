"""Attention over packed rows: each row by itself, and no position that does not count.

A model-wide mask over rows that lie end to end would be quadratic in all of them, and even the
mask of one shared row makes the fast kernels compute what they then throw away. Here a row is two
calls: its prompt and first response, causal and unmasked, and its second response, which looks at
the prompt's keys and its own.

On a CPU in bf16, the kernel's backward pass takes several times as long as the few products that
it consists of; there it is written out.
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

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
        if _slow_backward(q, k, v) and not dropout and q.shape[1] == k.shape[1]:
            scale = q.shape[-1] ** -0.5 if scaling is None else scaling
            found.append(_Attention.apply(q, k, v, mask, scale).transpose(1, 2))  # type: ignore[no-untyped-call]
            return
        out, _ = sdpa_attention_forward(
            module, q, k, v, mask, dropout=dropout, scaling=scaling, is_causal=mask is None
        )
        found.append(out)

    sizes = [span.first + span.second for span in spans]
    rows = (tensor.split(sizes, dim=2) for tensor in (query, key, value))
    for span, q, k, v in zip(spans, *rows, strict=True):
        if span.mask is None:
            attend(q, k, v, None)
            continue
        parts = (tensor.split((span.first, span.second), dim=2) for tensor in (q, k, v))
        (q_first, q_second), (k_first, k_second), (v_first, v_second) = parts
        attend(q_first, k_first, v_first, None)
        k_seen, v_seen = (
            torch.cat((first[:, :, : span.prompt], second), dim=2)
            for first, second in ((k_first, k_second), (v_first, v_second))
        )
        attend(q_second, k_seen, v_seen, span.mask)
    return torch.cat(found, dim=1), None


def _slow_backward(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and all(
        tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16 for tensor in tensors
    )


class _Attention(torch.autograd.Function):
    """The kernel's forward pass; backward, softmax(scale q k^T) v differentiated by hand.

    The weights are computed again, in float32, so that none are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        found = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
        )
        ctx.save_for_backward(query, key, value, mask, found)
        ctx.scale = scale
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, mask, found = ctx.saved_tensors
        scores = (query.float() * ctx.scale) @ key.float().mT
        if mask is None:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        weights = scores.masked_fill_(~mask, -torch.inf).softmax(-1)
        for_weights = (gradient @ value.mT).float()
        # What the softmax takes off: each row's mean of them under its weights.
        for_weights -= (gradient.float() * found.float()).sum(-1, keepdim=True)
        for_scores = for_weights.mul_(weights).mul_(ctx.scale).to(query.dtype)
        for_value = weights.to(query.dtype).mT @ gradient
        return for_scores @ key, for_scores.mT @ query, for_value, None, None


AttentionInterface.register(NAME, by_row)
