"""Attention over packed rows: each row by itself.

A model-wide mask over rows that lie end to end would be quadratic in all of them. Here a row is a
call of its own, or, where a GPU's kernel takes them all (see `varlen`), one call is for all.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from preference.model.attention import fused, varlen, written_out
from preference.model.attention.packing import Packing

NAME = "by_row"
COMPILED = "by_row_compiled"  # of compiled layers, see `compiled`
# What a kernel call may be told beside these would change the numbers, and is not known here.
HARMLESS = ("is_causal", "use_cache", "output_attentions", "output_hidden_states", "position_ids")


def by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing | None = None,
    compiled: bool = False,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of a packed batch.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads.
        attention_mask: none; the packing says it all.
        packing: the rows; without it the batch is plain.
        compiled: by functions of C++, where they take such heads.

    Returns:
        (1, tokens, heads, width), and no weights.

    Raises:
        NotImplementedError: the model asks for attention that differs, a window or a soft cap.
    """
    if packing is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    scaling, dropout = settings.pop("scaling", None), settings.pop("dropout", 0.0)
    asked = [
        name
        for name, value in settings.items()
        if name not in HARMLESS and value is not None and value is not False
    ]
    if asked or attention_mask is not None:
        raise NotImplementedError(f"attention by row knows nothing of {asked or 'masks'}")
    if packing.sequences is not None and varlen.takes(value) and not dropout:
        return varlen.attention(query, key, value, packing.sequences, scaling), None
    if written_out.takes(value) and not dropout:
        way = fused if compiled and fused.takes(query, value) else written_out
        return way.attention(query, key, value, packing.spans, scaling), None
    found: list[Tensor] = []
    sizes = list(packing.lengths)
    rows = (tensor.split(sizes, dim=2) for tensor in (query, key, value))
    # Sharding rounds what a layer is given, and float64 has kernels of its own.
    wide = torch.promote_types(query.dtype, torch.float32)
    for span, q, k, v in zip(packing.spans, *rows, strict=True):
        bias = None
        if span.bias is not None:
            bias = span.bias[: span.tokens, : span.tokens].to(wide)
        out, _ = sdpa_attention_forward(
            module, q, k, v, bias, dropout=dropout, scaling=scaling, is_causal=bias is None
        )
        found.append(out)
    return torch.cat(found, dim=1), None


AttentionInterface.register(NAME, by_row)
