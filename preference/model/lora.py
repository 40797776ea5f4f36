"""LoRA: adapters that are trained in place of a model's weights, which stay as they are.

peft puts them into the model's own layers, so that everything else sees the model that it knows.
"""

import logging
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_bitsandbytes_available

from preference.core.errors import InputError, one_line
from preference.core.optimization import Lora
from preference.model import adapters, directories, loading
from preference.model.probe import AUTOCAST
from preference.model.weights import read_object
from preference.runtime import processes
from preference.store import checksums
from preference.store.text import write_json


def require_possible(settings: Lora, accelerator: Accelerator, where: str) -> None:
    """Refuse what cannot be had here, before a model is loaded.

    Args:
        where: the key of the params, for the error message.
    """
    if not settings.quantize:
        return
    wrong = ""
    if accelerator.device.type != "cuda":
        wrong = f"needs a CUDA GPU, and this runs on {accelerator.device.type}"
    elif processes.sharded(accelerator):
        wrong = "has no sharded weights; launch it with recipes/accelerate/ddp.yaml"
    elif not is_bitsandbytes_available():
        wrong = "needs the package bitsandbytes; pip install bitsandbytes"
    if wrong:
        raise InputError(
            f"params.yaml: {where}.quantize: {settings.quantize} {wrong}, or set it to null"
        )


def load_quantized(directory: Path, accelerator: Accelerator) -> PreTrainedModel:
    """Load a model with its linear layers in 4 bits (NF4, QLoRA, Dettmers et al. 2023).

    What the pipeline has written is loaded, and was looked at when it was; the rest of the weights
    is float32.
    """
    from transformers import BitsAndBytesConfig

    loading.read_config(directory)
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=AUTOCAST.get(accelerator.mixed_precision, torch.float32),
    )
    try:
        model: PreTrainedModel = loading.from_files(
            directory,
            dtype=torch.float32,
            quantization_config=quantized,
            device_map={"": accelerator.device},
        )
    except loading.UNREADABLE as error:
        raise InputError(
            f"{directory}: cannot be loaded in 4 bits ({one_line(error)}); set quantize to null"
        ) from None
    return model


def inject(
    model: PreTrainedModel, settings: Lora, seed: int, accelerator: Accelerator, where: str
) -> None:
    """Put adapters into a model and freeze all else.

    Where autocast is on, frozen layers are held in its precision, to which it would round them at
    every use: the same numbers for half the memory. Embeddings and norms, which autocast leaves in
    float32, stay float32, and so do sharded weights, which take one precision only.

    Args:
        seed: of the adapters' first matrices; the second ones begin at 0, and the model as it was.
        where: the key of the params, for the error message.

    Raises:
        InputError: there are no such modules, or they cannot have adapters.
    """
    # Its import is slow, and full fine-tuning does without.
    from peft import LoraConfig

    _require_modules(model, settings, where)
    asked = settings.model_dump(exclude={"quantize"})
    torch.manual_seed(seed)
    try:
        # That GPT-2's layers are transposed it sees for itself, and says so.
        with warnings.catch_warnings(action="ignore"):
            model.add_adapter(LoraConfig(**asked, task_type="CAUSAL_LM"))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"params.yaml: {where}: {one_line(error)}") from None
    if not (settings.quantize or processes.sharded(accelerator)):
        _round_frozen(model, AUTOCAST.get(accelerator.mixed_precision))
    trained, total = count(model)
    logging.info("lora: %s", f"{trained:,} of {total:,} weights train ({trained / total:.3%})")


def _require_modules(model: PreTrainedModel, settings: Lora, where: str) -> None:
    key = f"params.yaml: {where}.target_modules"
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    head, asked = model.get_output_embeddings(), settings.target_modules
    known = sorted({name.rpartition(".")[2] for name, m in layers.items() if m is not head})
    if asked is None:
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

        if model.config.model_type not in DEFAULTS:
            raise InputError(
                f"{key}: peft has no default for {model.config.model_type}; take all-linear, or "
                f"some of {', '.join(known)}"
            )
    for name in asked if isinstance(asked, list) else []:
        found = [m for layer, m in layers.items() if f".{layer}".endswith(f".{name}")]
        if not found or head in found:
            raise InputError(
                f"{key}: {name} is {'the output layer' if found else 'no linear layer'} of this "
                f"model; take all-linear, or some of {', '.join(known)}"
            )


def _round_frozen(model: PreTrainedModel, dtype: torch.dtype | None) -> None:
    """Hold frozen layers in the precision that autocast computes in."""
    embedding = model.get_input_embeddings().weight
    for layer in model.modules() if dtype else ():
        if isinstance(layer, nn.Linear | Conv1D):
            weight = layer.weight
            # An output layer that is the embedding as well stays what that is.
            if not weight.requires_grad and weight is not embedding:
                weight.data = weight.data.to(dtype)


def injected(model: nn.Module) -> bool:
    """Whether a model has adapters of `inject`."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def rounded(model: nn.Module) -> bool:
    """Whether some weights are held in less than float32, and only autocast can run the model."""
    return any(weight.element_size() < 4 for weight in model.parameters())


def count(model: nn.Module) -> tuple[int, int]:
    """How many weights are trained, and how many there are, adapters counted in."""
    sizes = [
        # Two of four bits share a byte.
        (weight.numel() * (2 if type(weight).__name__ == "Params4bit" else 1), weight.requires_grad)
        for weight in model.parameters()
    ]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def drop_out(model: nn.Module) -> None:
    """Let adapters have their own dropout, in whichever mode the model is."""
    for module in model.modules():
        dropout = getattr(module, "lora_dropout", None)
        if isinstance(dropout, nn.Module):
            dropout.train()


def save(
    model: PreTrainedModel, weights: dict[str, torch.Tensor] | None, came_from: Path, out: Path
) -> None:
    """Save a model's adapter, as peft does, into a directory that is there.

    Args:
        weights: the model's; None: as they are in it.
        came_from: the directory of its base, by the name under which it will be looked for.
    """
    model.save_pretrained(out, state_dict=weights)
    config = out / adapters.CONFIG
    settings = read_object(config) | {"base_model_name_or_path": came_from.as_posix()}
    # Sets come in any order.
    write_json(config, {k: sorted(v) if isinstance(v, list) else v for k, v in settings.items()})
    origin, record = came_from / directories.ORIGIN, came_from / checksums.NAME
    if origin.exists() and record.exists():
        known = read_object(origin) | {adapters.TRAINED_ON: checksums.of_file(record)}
        write_json(out / directories.ORIGIN, known)
