"""Make what is small in a model large for a while, so that what depends on it shows."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from preference.runtime import processes

SPREAD = 32.0  # standard deviation of the logits; soft caps in use are 15 to 50
TOKENS = 32  # that they are measured on


class ImpossibleError(Exception):
    """Why a model cannot be enlarged."""


@contextmanager
def enlarged(model: PreTrainedModel, run: Callable[..., Any] | None = None) -> Iterator[None]:
    """Within, attention prefers some positions, as trained one does, and logits are large.

    Linear layers are multiplied by a power of two, in place, which is undone bit for bit: no
    second copy is in memory. What the base model hands to the output layer is multiplied until
    logits spread by `SPREAD`, before whatever is done to them then. Gradients have to be off.

    Args:
        run: what gives the model's outputs, where that is not the model by itself.

    Raises:
        ImpossibleError: there is no output layer to hand it to, or nothing to multiply.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or model.base_model is model:
        raise ImpossibleError("the output layer is no linear one on top of a base model")
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    weights = list({id(layer.weight): layer.weight for layer in layers}.values())
    # How much longer a layer makes a random vector, about.
    gain = _rms(*weights) * math.sqrt(model.get_input_embeddings().weight.shape[-1])
    factor = 2.0 ** math.ceil(-math.log2(gain)) if 0 < gain < 1 else 1.0
    for weight in weights:
        weight.mul_(factor)
    handle = None
    try:
        source = _source(model)
        states = _states(model, source, run or model)
        spread = _rms(states) * _rms(head.weight) * math.sqrt(head.in_features)
        if not 0 < spread < math.inf:
            raise ImpossibleError(f"its logits spread by {spread:g}")
        scale = max(1.0, 2.0 ** round(math.log2(SPREAD / spread)))

        def enlarge(module: nn.Module, inputs: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state * scale
            return output

        handle = source.register_forward_hook(enlarge)
        yield
    finally:
        if handle is not None:
            handle.remove()
        for weight in weights:
            weight.mul_(1 / factor)


def _source(model: PreTrainedModel) -> nn.Module:
    """What the output layer takes its input from: some models go past the base model for it."""
    decoder = model.get_decoder()
    inside = any(module is decoder for module in model.base_model.modules())
    return decoder if inside else model.base_model


def _states(model: PreTrainedModel, source: nn.Module, run: Callable[..., Any]) -> Tensor:
    """What `source` hands over for some tokens."""
    found: list[Tensor | None] = []
    handle = source.register_forward_hook(
        lambda module, inputs, output: found.append(getattr(output, "last_hidden_state", None))
    )
    ids = torch.arange(TOKENS)[None] % model.get_input_embeddings().num_embeddings
    try:
        run(input_ids=ids.to(model.device), use_cache=False)
    finally:
        handle.remove()
    if len(found) != 1 or found[0] is None:
        raise ImpossibleError("the base model's output has no last_hidden_state")
    return found[0]


def _rms(*tensors: Tensor) -> float:
    """Root of the mean square over all entries of all tensors."""
    squares = sum(float(processes.whole(tensor.norm())) ** 2 for tensor in tensors)
    return math.sqrt(squares / max(1, sum(tensor.numel() for tensor in tensors)))
