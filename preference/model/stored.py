"""Weights left in their file until they are needed: mapped, in the precision they have there."""

import os
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

KINDS = {"F16": torch.float16, "BF16": torch.bfloat16}


def dtype(files: Iterable[Path]) -> torch.dtype:
    """The one that can hold all weights in these files, float32 at most.

    In it they are mapped, and nothing is read or copied before it is used.
    """
    found = {KINDS.get(kind, torch.float32) for file in files for kind in _kinds(file)}
    return reduce(torch.promote_types, found or {torch.float32})


def _kinds(file: Path) -> set[str]:
    with safe_open(file, "pt") as content:
        return {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118


def keep(values: torch.Tensor, file: Path) -> torch.Tensor:
    """The same values in a new file, which is mapped.

    Raises:
        OSError: the disk is full.
    """
    with file.open("wb") as content:
        # Else a page that finds no room when it is written to ends the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(content.fileno(), 0, max(1, values.nbytes))
    kept = torch.from_file(str(file), shared=True, size=values.numel(), dtype=values.dtype)
    return kept.view(values.shape).copy_(values.detach())


def widen_buffers(model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Compute what the model computes of its config in float32, where it was in half precision.

    Such as the scale of embeddings: no file holds it, and rounded it would stay.
    """
    with init_empty_weights():
        wide = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    kept = model.state_dict().keys()
    for name, buffer in wide.named_buffers():
        if name not in kept:
            owner, _, own_name = name.rpartition(".")
            setattr(model.get_submodule(owner), own_name, buffer)
