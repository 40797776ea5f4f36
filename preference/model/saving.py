"""A trained model, written once: weights, tokenizer, and what it came from."""

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from preference.core.files import replacing
from preference.model.loading import ORIGIN, TOKENIZER_FILES
from preference.model.scorer import ResponseLogps
from preference.runtime import processes
from preference.store import checksums

Weights = dict[str, torch.Tensor]


def save(accelerator: Accelerator, model: nn.Module, came_from: Path, out: Path) -> None:
    """Save the language model behind a trained scorer, once; all processes take part.

    Args:
        model: the scorer, as `accelerator` has made it.
        came_from: the directory that training began with; its tokenizer and origin are taken over.
    """
    scorer: ResponseLogps = accelerator.unwrap_model(model)
    weights = _gathered(scorer, model) if processes.sharded(accelerator) else None
    if not accelerator.is_main_process:
        return
    with replacing(out) as temporary:
        scorer.model.save_pretrained(temporary, state_dict=weights)
        for pattern in (*TOKENIZER_FILES, ORIGIN):
            for file in came_from.glob(pattern):
                shutil.copyfile(file, temporary / file.name)
        checksums.seal(temporary)


def _gathered(scorer: ResponseLogps, model: nn.Module) -> Weights:
    """The model's own weights, of which each process holds a part; whole on the main one only."""
    # Its import is slow, and only sharded weights need it.
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole: dict[str, Any] = get_model_state_dict(model, options=options)
    tied = scorer.model.all_tied_weights_keys
    names = {name: name.removeprefix("model.") for name in whole}
    return {names[n]: value for n, value in whole.items() if names[n] not in tied}
