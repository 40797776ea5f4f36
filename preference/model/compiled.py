"""A model's decoder layers compiled by torch, each for itself.

Beside its products a layer has norms, rotations, activations and casts, each a pass over memory.
Compiled, those that follow one another are one pass. Layers of a kind share what is compiled.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from preference.core.errors import first_line
from preference.model.attention import rows
from preference.runtime import processes


class Layer:
    """A layer's forward pass, in both forms.

    Attributes:
        module: the layer.
        on: whether the compiled one is taken.
    """

    def __init__(self, layer: GradientCheckpointingLayer) -> None:
        self.module, self.on = layer, False
        self._plain = layer.forward
        # Sizes of micro-batches differ: once for all of them, not once for each.
        self._compiled = torch.compile(layer.forward, dynamic=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._compiled if self.on else self._plain)(*args, **kwargs)


def layers(model: PreTrainedModel, accelerator: Accelerator) -> list[Layer]:
    """Give each decoder layer of a model a compiled form; what runs is as it was until asked.

    Returns:
        Them, or none where torch cannot compile for one of the processes, which is said.
    """
    # Their import is slow, and most runs do without.
    from torch._dynamo import config as tracing
    from torch._inductor import config as compiling

    # Layers of several kinds, with and without gradients, each in two precisions.
    tracing.recompile_limit = 32
    # It would cut layers by the size of what processes exchange, which goes by hooks here.
    tracing.optimize_ddp = False
    # Dropout draws what it draws otherwise.
    compiling.fallback_random = True
    if wrong := _impossible(accelerator):
        logging.warning("runtime.compile: torch cannot compile here: %s", wrong)
    if processes.anywhere(accelerator, bool(wrong)):
        return []
    AttentionInterface.register(rows.COMPILED, _attention())
    found = []
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.forward = Layer(module)
            found.append(module.forward)
    return found


def _attention() -> Callable[..., Any]:
    """Attention of packed rows between what is compiled of a layer.

    Rows are cut by lengths that are new each time: what they go through is left as it is.
    """
    by_row = torch.compiler.disable(rows.by_row)

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        # Where rotary positions are in float32: rounded here, it is no pass of its own.
        query, key = query.to(value.dtype), key.to(value.dtype)
        return by_row(module, query, key, value, *args, compiled=True, **kwargs)

    return attention


def _impossible(accelerator: Accelerator) -> str:
    """Why nothing can be compiled here, if so: found out before others wait for this process."""

    def told(value: Tensor) -> Tensor:
        return value + int(torch.compiler.is_compiling())

    try:
        found = torch.compile(told)(torch.zeros(2, device=accelerator.device))
    except RuntimeError as error:
        return first_line(error)
    return "" if found.all() else "it is told not to (TORCHDYNAMO_DISABLE?)"
