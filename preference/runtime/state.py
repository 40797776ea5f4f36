"""What training changes, as this process holds it, to files and back, to the bit.

Weights that are divided among processes stay divided: each keeps its part, and nothing whole is
gathered. Frozen weights stay as they are loaded, and are not kept.

Files are as torch saves tensors and numbers, and are read as no more than that (`weights_only`):
nothing that they could ask to run is run.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.checkpointing import load_accelerator_state, save_accelerator_state
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from preference.runtime import processes

NAME = "state.pt"


@torch.no_grad()
def write(accelerator: Accelerator, optimizer: Optimizer, directory: Path) -> None:
    """Keep what an optimizer trains, its own state and the random numbers.

    Args:
        directory: this process's. Weights that each process holds whole the main one keeps.
    """
    if accelerator.is_main_process or processes.sharded(accelerator):
        kept = optimizer.state_dict()
        moments = {n: {k: _local(v) for k, v in of.items()} for n, of in kept["state"].items()}
        weights = [_local(weight).detach() for weight in _trained(optimizer)]
        torch.save({"weights": weights, **kept, "state": moments}, directory / NAME)
    own, scaler = accelerator.process_index, accelerator.scaler
    save_accelerator_state(str(directory), [], [], [], [], own, 0, scaler)


@torch.no_grad()
def read(accelerator: Accelerator, optimizer: Optimizer, directory: Path, main: Path) -> None:
    """Take back what `write` has kept, by as many processes.

    Args:
        directory: this process's.
        main: the main process's.
    """
    holds = directory if processes.sharded(accelerator) else main
    kept = torch.load(holds / NAME, map_location="cpu", weights_only=True)
    trained = _trained(optimizer)
    for weight, values in zip(trained, kept.pop("weights"), strict=True):
        _local(weight).copy_(values)
    for number, moments in kept["state"].items():
        weight = trained[number]
        if isinstance(weight, DTensor):
            # How many steps were made is a number, and not divided.
            parts = {name: _as_part(v, weight) for name, v in moments.items() if v.dim()}
            kept["state"][number] = moments | parts
    optimizer.load_state_dict(kept)
    own, scaler = accelerator.process_index, accelerator.scaler
    load_accelerator_state(str(directory), [], [], [], [], own, scaler)


def _trained(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _local(value: Any) -> Any:
    """Of a tensor that is divided this process's part; all else as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def _as_part(values: Tensor, weight: DTensor) -> DTensor:
    """A tensor that is divided as a weight is, of which these are this process's values."""
    return DTensor.from_local(
        values.to(weight.to_local().device),
        weight.device_mesh,
        weight.placements,
        run_check=False,
        shape=weight.shape,
        stride=weight.stride(),
    )
