"""Work divided among processes, each with a model of its own or a part of one.

Every process computes the same plan from the same numbers, so that none has to be sent.
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, reduce
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def home(accelerator: Accelerator) -> torch.device:
    """Where a step's numbers are kept until they are read: float64 is not on every device."""
    device: torch.device = accelerator.device
    return device if device.type == "cuda" else torch.device("cpu")


def deal(sizes: np.ndarray, processes: int) -> list[np.ndarray]:
    """Indices into `sizes` for each process, none twice: nearly the same work for all.

    The largest are dealt first, back and forth; one process gets all, in their order.
    """
    if processes == 1:
        return [np.arange(len(sizes))]
    order = np.argsort(-sizes, kind="stable")
    turn = np.arange(len(order)) % (2 * processes)
    receiver = np.where(turn < processes, turn, 2 * processes - 1 - turn)
    return [order[receiver == process] for process in range(processes)]


def sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds only a part of the weights."""
    return accelerator.distributed_type == DistributedType.FSDP


def own(weight: Tensor) -> Tensor:
    """What of a weight is in this process."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole(value: Tensor) -> Tensor:
    """All of a tensor that is divided, on each process; all of them take part."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def divided(accelerator: Accelerator, model: M, *, exactly: bool = False) -> M:
    """A model, its weights divided among the processes where a launcher asks for that; in place.

    Each takes its rows of one layer after the other, from a file where they are mapped (see
    `loading.load`), and holds them in float32: none ever has all of them. Sharded weights are
    computed with in half precision, and all sums are had in float32: the library would round what
    the model gives as well, log-probabilities of 220 nats to whole ones, and gradients before they
    are added up.

    Args:
        exactly: compute in float32, whatever the precision in use.
    """
    if not sharded(accelerator) or isinstance(model, FSDPModule):
        return model
    half = None if exactly else HALVES.get(accelerator.mixed_precision)
    # What goes from layer to layer stays as it is, as autocast leaves it to one process.
    accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
        param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # What is to be trained the library would make float32 before it is divided.
    model.requires_grad_(False)
    # It takes no model without an optimizer; this one keeps no state and makes no step.
    prepared, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    accelerator.free_memory()
    prepared.float()
    for name, weight in prepared.named_parameters():
        weight.requires_grad_(name in trained)
    return prepared


def total(accelerator: Accelerator, values: np.ndarray) -> np.ndarray:
    """Sum over all processes, on each; exact where every entry comes from one of them."""
    return summed(accelerator, torch.from_numpy(values)).cpu().numpy()


def summed(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The same of a tensor, which stays where it is computed."""
    if accelerator.num_processes == 1:
        return values
    return reduce(values.to(accelerator.device), "sum")


def anywhere(accelerator: Accelerator, happened: bool) -> bool:
    """Whether something happened in one of the processes."""
    return bool(total(accelerator, np.array([float(happened)]))[0])


def smallest(accelerator: Accelerator, value: int) -> int:
    """The smallest of all processes' values, on each."""
    if accelerator.num_processes == 1:
        return value
    own = torch.tensor([value], device=accelerator.device)
    return int(accelerator.gather(own).min())


def average(parameters: Iterable[Tensor]) -> None:
    """Average the gradients over the processes, of which each has the same ones."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = reduce(parameter.grad, "mean")


def agreed(accelerator: Accelerator, value: T) -> T:
    """The main process's value, on each."""
    if accelerator.num_processes == 1:
        return value
    (value,) = broadcast_object_list([value])
    return value
