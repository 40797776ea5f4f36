"""Adapters (LoRA), as peft saves them: which model they belong to, and merged into it."""

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from preference.core.errors import InputError, one_line
from preference.model import checks, weights
from preference.store import checksums

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
# Of an adapter that was trained here, beside its origin: the digest of its base's own digests.
TRAINED_ON = "trained_on"
# What peft itself may name as a model's own library.
LIBRARY = "transformers."
# Settings with which peft imports a module, or unpickles a file, that an adapter names.
RUNS_CODE = ("megatron_config", "corda_config", "lora_ga_config")


class Base(NamedTuple):
    """The model that an adapter belongs to: a directory, or a Hub id and what pins it."""

    name: str
    revision: str | None
    where: str


def found(directory: Path) -> bool:
    """Whether a directory holds an adapter."""
    names = (CONFIG, WEIGHTS, PICKLED)
    return any((directory / name).exists() for name in names)


def base(directory: Path) -> Base:
    """Which model an adapter was trained on, by its own word.

    Raises:
        InputError: it is not whole, asks to run code, is no LoRA, or stands beside a whole model.
    """
    config = directory / CONFIG
    if not config.exists():
        raise InputError(f"{config}: no such file, though there are an adapter's weights beside it")
    settings = weights.read_object(config)
    _refuse_code(config, settings)
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise InputError(
            f"{config}: peft_type is {kind!r}; of adapters only LORA is merged into its model"
        )
    if not (directory / WEIGHTS).exists():
        pickled = (directory / PICKLED).exists()
        raise InputError(
            f"{directory / PICKLED}: pickled weights can run code, so they are not read; save the "
            "adapter with peft's save_pretrained, which writes safetensors"
            if pickled
            else f"{directory / WEIGHTS}: no such file, though {CONFIG} says that this is an "
            "adapter; copy it again"
        )
    weights.require_content(directory / WEIGHTS)
    for whole in (weights.WHOLE, weights.INDEX):
        if (directory / whole).exists():
            raise InputError(
                f"{directory}: holds both an adapter ({CONFIG}) and a whole model ({whole}); move "
                "into a directory of its own the one that is meant"
            )
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{config}: base_model_name_or_path is {name!r}; set it to the model that the adapter "
            "was trained on, a directory or a Hub id"
        )
    return Base(
        name,
        revision if isinstance(revision, str) else None,
        f"{config}: base_model_name_or_path",
    )


def recorded(directory: Path, base: Base, digest: str) -> Path:
    """Where the base is of an adapter that was trained here.

    By its name, seen from this directory or from one that the adapter is in: so a project can be
    copied or moved, with the adapter or without.

    Args:
        digest: of its record of digests, by which it is known again.

    Raises:
        InputError: it is not there, or another one is in its place.
    """
    places = [Path(base.name), *(place / base.name for place in directory.resolve().parents)]
    there = [place for place in places if place.is_dir()]
    for place in there:
        record = place / checksums.NAME
        if record.exists() and checksums.of_file(record) == digest:
            return place
    raise InputError(
        f"{base.where}: {base.name} "
        + (
            f"is not the model that this adapter was trained on ({there[0]} has other digests)"
            if there
            else "is not there"
        )
        + "; run dvc repro or dvc checkout for the two that belong together"
    )


def _refuse_code(config: Path, settings: dict[str, object]) -> None:
    mapping = settings.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if mapping and not (isinstance(library, str) and library.startswith(LIBRARY)):
        raise InputError(
            f"{config}: auto_mapping asks to import code that comes with the adapter, which is "
            "never done; take auto_mapping out of the file, or use another adapter"
        )
    for key in RUNS_CODE:
        if settings.get(key):
            raise InputError(
                f"{config}: {key} names a module or a file that peft would run, which is never "
                "done; take it out of the file, or use another adapter"
            )


def merged(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """A base with an adapter merged into its weights.

    Args:
        model: the base; it is changed.

    Raises:
        InputError: the adapter cannot be read, or does not fit the base.
    """
    # Its import is slow, and few models are adapters.
    from peft import PeftConfig, PeftModel

    ids = torch.arange(8).reshape(2, 4) % model.get_input_embeddings().num_embeddings
    try:
        # Of merging into tied weights it only warns; what comes of it is looked at below.
        with warnings.catch_warnings(action="ignore"):
            config = PeftConfig.from_pretrained(str(directory))
            config.inference_mode = True
            adapted = PeftModel(model, config)
            result = adapted.load_adapter(str(directory), "default", torch_device="cpu")
            _require_all_used(result, directory)
            checks.require_finite(adapted, directory)
            expected = _logits(adapted, ids)
            whole = adapted.merge_and_unload()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{directory}: its adapter cannot be merged into the base that it names "
            f"({one_line(error)}); is it the model that it was trained on?"
        ) from None
    if not torch.allclose(_logits(whole, ids), expected, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"{directory}: merged into its base the adapter gives another model than beside it, as "
            "where it changes one of two tied matrices; merge it yourself and save a whole model"
        )
    return whole


def _require_all_used(result: object, directory: Path) -> None:
    missing, unexpected = (
        getattr(result, name, None) or [] for name in ("missing_keys", "unexpected_keys")
    )
    for names, what in ((missing, "lacks"), (unexpected, "has no place in the base for")):
        if names:
            raise InputError(
                f"{directory / WEIGHTS}: {what} {', '.join(sorted(names)[:3])}; the adapter was "
                f"trained on another model than {CONFIG} says, or is not whole"
            )


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    return model.eval()(input_ids=ids, use_cache=False).logits
