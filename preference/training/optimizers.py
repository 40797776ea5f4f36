"""The optimizer of a training, and how its learning rate goes: by the names that params have."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from preference.core.errors import InputError, first_line
from preference.core.optimization import Optimization
from preference.runtime import processes

EIGHT_BIT = "adamw_8bit"
SMALLEST = 4096  # entries of a parameter from which on bitsandbytes keeps its moments in 8 bits


def require(accelerator: Accelerator, **sections: Optimization) -> None:
    """Refuse an optimizer that cannot be had here, before there is work to lose.

    Args:
        sections: of params, by name.

    Raises:
        InputError: bitsandbytes is not installed, does not work on this device, or the weights are
            sharded, which it does not know of.
    """
    for section, asked in sections.items():
        if asked.optimizer == EIGHT_BIT and (reason := _missing(accelerator)):
            raise InputError(
                f"params.yaml: {section}.optimizer: {EIGHT_BIT} {reason}, or set it to adamw"
            )


def _missing(accelerator: Accelerator) -> str:
    """Why there is no AdamW in 8 bits, and what to do about it; empty where there is."""
    if processes.sharded(accelerator):
        return "does not work with FSDP; start it without"
    try:
        # One step shows more than a list of devices would.
        weight = nn.Parameter(torch.zeros(SMALLEST, device=accelerator.device))
        weight.grad = torch.ones_like(weight)
        _eight_bit()([weight]).step()
    except ImportError:
        return "needs bitsandbytes, which is not installed; pip install bitsandbytes"
    except Exception as error:
        # What it raises where a device is not among its own has no class in common.
        device = accelerator.device.type
        return f"does not work on {device} ({first_line(error)}); use another runtime.device"
    return ""


def _eight_bit() -> Any:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit


def make(model: nn.Module, settings: Optimization, *, fused: bool) -> Optimizer:
    """AdamW over the parameters of a model that are trained.

    Args:
        fused: one pass over the parameters, where the optimizer has that.
    """
    groups = _groups(model, settings)
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == EIGHT_BIT:
        _keep_embeddings_wide(model)
        return _eight_bit()(groups, **options)
    return torch.optim.AdamW(groups, **options, fused=fused)


def _groups(model: nn.Module, settings: Optimization) -> list[dict[str, Any]]:
    """Those that are trained, all or matrices apart from the others, which have no weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.weight_decay_on == "all":
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _keep_embeddings_wide(model: nn.Module) -> None:
    """Moments of embeddings in 32 bits, as their authors advise and transformers' Trainer does."""
    from bitsandbytes.optim import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


def schedule(optimizer: Optimizer, settings: Optimization, steps: int) -> LRScheduler:
    """Linear warm-up over int(warmup_ratio x steps), then what `schedule` names, over `steps`.

    Linear and cosine (half a wave) come to 0 one step after the last.
    """
    warmup = int(settings.warmup_ratio * steps)
    return get_scheduler(settings.schedule, optimizer, warmup, max(1, steps))
