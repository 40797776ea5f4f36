"""A model's layers, made to take less time or memory for the same numbers."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.activations import AccurateGELUActivation, FastGELUActivation, NewGELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer

# The same function, by other names.
TANH_GELUS = (NewGELUActivation, FastGELUActivation, AccurateGELUActivation)


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Let each layer keep its input only, and compute the rest again in the backward pass.

    The library's own switch works in training mode alone, which training without dropout is not.
    """
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def names(model: PreTrainedModel) -> list[str]:
    """The classes of a model's decoder layers."""
    found = (type(m).__name__ for m in model.modules() if isinstance(m, GradientCheckpointingLayer))
    return sorted(set(found))


def widen(model: PreTrainedModel) -> None:
    """Let what goes from layer to layer be in float32, where sharded weights are rounded.

    Autocast leaves it in the precision that embeddings begin it in, and one process has these in
    float32. Layer norms take their weights in that precision, which not all kernels do by
    themselves.
    """

    def widened(module: nn.Module, inputs: object, found: Tensor) -> Tensor:
        return found.to(torch.promote_types(found.dtype, torch.float32))

    model.get_input_embeddings().register_forward_hook(widened)
    for norm in model.modules():
        if type(norm) is nn.LayerNorm:
            setattr(norm, "forward", partial(_normed, norm))  # noqa: B010 (a method, to mypy)


def _normed(norm: nn.LayerNorm, states: Tensor) -> Tensor:
    weight, bias = (p if p is None else p.to(states.dtype) for p in (norm.weight, norm.bias))
    return F.layer_norm(states, norm.normalized_shape, weight, bias, norm.eps)


def fuse_activations(model: PreTrainedModel) -> None:
    """Put torch's one-kernel form of the tanh-approximated GELU in the place of its spellings.

    Written out, as GPT-2's `gelu_new` is, it takes seven passes over the widest activations.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, TANH_GELUS):
                setattr(module, name, nn.GELU(approximate="tanh"))
