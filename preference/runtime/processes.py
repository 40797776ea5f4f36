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
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


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


def shard_exactly(accelerator: Accelerator) -> None:
    """Let sharded weights be computed with in half precision, and all sums be had in float32.

    The library would round what the model gives as well, log-probabilities of 220 nats to whole
    ones, and gradients before they are added up.
    """
    if not sharded(accelerator):
        return
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    # What goes from layer to layer stays as it is, as autocast leaves it to one process.
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def divided(accelerator: Accelerator, model: M) -> M:
    """A model that is not trained, its weights divided where a launcher asks for that.

    Else each process keeps the whole.
    """
    if not sharded(accelerator):
        return model
    # The library takes no model without an optimizer; this one keeps no state and makes no step.
    prepared, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
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
