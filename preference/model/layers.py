"""A model's layers, made to take less time or memory for the same numbers."""

from functools import partial

from torch import nn
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


def fuse_activations(model: PreTrainedModel) -> None:
    """Put torch's one-kernel form of the tanh-approximated GELU in the place of its spellings.

    Written out, as GPT-2's `gelu_new` is, it takes seven passes over the widest activations.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, TANH_GELUS):
                setattr(module, name, nn.GELU(approximate="tanh"))
