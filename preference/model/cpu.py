"""What makes models fast on a CPU, and nothing else: who runs on a GPU can skip this file.

**Gradients of the vocabulary's weights, added where they stay.** The embedding and the LM head are
the largest weights of a small model, and often one. As autograd does it, each backward pass makes a
gradient of that size for each of the two, fills it, casts it and adds them up: blocks of 150 MB for
GPT-2, which the C library's heap finds no hole for, so that their pages are new each time. Here
rows are added to a gradient that stays.

**Attention written out in bf16.** The kernel takes longer than the few products that it consists
of, above all in its backward pass. Queries that share their keys are rows of one product.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

ROWS = 512  # of a gradient that are added at a time: other precision is cast first, in the cache
MARK = "added_in_place"
WIDTH = 8192  # entries of the vocabulary whose logits are had at a time: products are slow beyond
BLOCK = 2**20  # logits that are widened to float32 at a time: they stay in the cache
LONG = 512  # tokens of a row beyond which its weights, (heads, tokens, tokens), are not kept


def in_place(weight: Tensor) -> bool:
    """Whether the gradient of a weight is added by `add`, and not by autograd."""
    return getattr(weight, MARK, False)


def add(weight: Tensor, first: int, rows: Tensor) -> None:
    """Add to the gradient of a weight, from its row `first` on."""
    gradient = weight.grad
    assert gradient is not None
    for here, found in zip(
        gradient[first : first + len(rows)].split(ROWS), rows.split(ROWS), strict=True
    ):
        here.add_(found)


def accumulate_in_place(model: PreTrainedModel, accelerator: Accelerator) -> None:
    """Let the embedding and the LM head of a model add in place, where that is right.

    Autograd's hooks do not see such gradients, so this is for a process that trains alone, on a
    CPU. Where the model does not use the two in a way that is known, autograd goes on adding.
    """
    if accelerator.num_processes > 1 or accelerator.device.type != "cpu":
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embedding) is nn.Embedding and _plain(embedding):
        lookup = partial(_Lookup.apply, _marked(embedding.weight))
        setattr(embedding, "forward", lookup)  # noqa: B010 (a method, to the type checker)
    if type(head) is nn.Linear and head.weight.requires_grad:
        _marked(head.weight)


def _plain(embedding: nn.Embedding) -> bool:
    usual = embedding.padding_idx is None and embedding.max_norm is None
    usual = usual and not embedding.sparse and not embedding.scale_grad_by_freq
    return usual and embedding.weight.requires_grad


def _marked(weight: Tensor) -> Tensor:
    setattr(weight, MARK, True)
    weight.grad = torch.zeros_like(weight)
    return weight


def clear(parameters: Iterable[Tensor]) -> None:
    """Forget the gradients; those that are added in place become 0."""
    for parameter in parameters:
        if in_place(parameter) and parameter.grad is not None:
            parameter.grad.zero_()
        else:
            parameter.grad = None


class _Lookup(torch.autograd.Function):
    """Rows of an embedding; backward, each adds to its row of the gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(ids)
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        (gradient,) = gradients
        (ids,) = ctx.saved_tensors
        found = gradient.flatten(0, -2).to(ctx.weight.grad.dtype)
        ctx.weight.grad.index_add_(0, ids.flatten(), found)
        return None, None


def has_slow_attention(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether `attention` is faster than the kernel, and can be in its place."""
    # Autocast rounds the values alone where rotary positions are in float32.
    if value.device.type != "cpu" or value.dtype != torch.bfloat16:
        return False
    heads, shared = query.shape[1], key.shape[1]
    return heads == shared or (heads % shared == 0 and key.shape[2] <= LONG)


def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scaling: float | None
) -> Tensor:
    """softmax(scaling q k^T + bias) v of one row, in the precision of the values.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads, each for as many
            queries in turn.
        bias: (tokens, tokens), float32; causal without one.
        scaling: None stands for the usual 1 / sqrt(width).
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)
    shape, heads = query.shape, key.shape[1]
    grouped = query if shape[1] == heads else query.reshape(1, heads, -1, shape[-1])
    found: Tensor = _Attention.apply(grouped, key, value, bias, scale)  # type: ignore[no-untyped-call]
    return found if grouped is query else found.view(shape)


class _Attention(torch.autograd.Function):
    """The formula of `attention`, and its derivative by hand.

    Scores and softmax are in float32, the weights in the precision of the values. They grow by the
    square of a row: a long one is left to the kernel, and has them in its backward pass only.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        ctx.scale = scale
        if key.shape[-2] > LONG:
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
    """softmax(scale q k^T + bias) of one row, (1, heads, queries, tokens); causal without one."""
    tokens = key.shape[-2]
    if bias is None:
        bias = torch.full((tokens, tokens), -torch.inf, device=query.device).triu_(1)
    if (many := query.shape[-2] // tokens) > 1:
        bias = bias.repeat(many, 1)
    # Autocast would round the scores.
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.baddbmm(bias.float(), query[0].float(), key[0].float().mT, alpha=scale)
        return scores.softmax(-1).to(query.dtype)[None]
