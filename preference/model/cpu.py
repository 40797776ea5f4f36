"""What makes models fast on a CPU, and nothing else: who runs on a GPU can skip this file.

**Gradients of the vocabulary's weights, added where they stay.** The embedding and the LM head are
the largest weights of a small model, and often one. As autograd does it, each backward pass makes a
gradient of that size for each of the two, fills it, casts it and adds them up: blocks of 150 MB for
GPT-2, which the C library's heap finds no hole for, so that their pages are new each time. Here
rows are added to a gradient that stays.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

ROWS = 512  # of a gradient that are added at a time: other precision is cast first, in the cache
MARK = "added_in_place"
WIDTH = 8192  # entries of the vocabulary whose logits are had at a time: products are slow beyond
BLOCK = 2**20  # logits that are widened to float32 at a time: they stay in the cache


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
