"""Work divided among processes, each with a model of its own or a part of one.

Every process computes the same plan from the same numbers, so that none has to be sent.
"""

from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, reduce
from torch import nn

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


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
    if accelerator.num_processes == 1:
        return values
    summed = reduce(torch.from_numpy(values).to(accelerator.device), "sum")
    return summed.cpu().numpy()


def agreed(accelerator: Accelerator, value: T) -> T:
    """The main process's value, on each."""
    if accelerator.num_processes == 1:
        return value
    (value,) = broadcast_object_list([value])
    return value
