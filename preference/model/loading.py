"""Models in directories: find, load, save. Safetensors only, never code from outside."""

import json
import logging
from functools import partial
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.activations import AccurateGELUActivation, FastGELUActivation, NewGELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer

from preference.core import hub
from preference.core.errors import InputError, first_line, is_full_disk
from preference.core.paths import leads_out, located, texts
from preference.core.pins import require_commit

# What transformers and the libraries under it raise for files that they cannot use.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
# Beside a model's own files: which one its training began with.
ORIGIN = "origin.json"
# The same function, by other names.
TANH_GELUS = (NewGELUActivation, FastGELUActivation, AccurateGELUActivation)
# What of a model is fetched: weights only as safetensors, and no code.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.*",
)


def locate(name: str, revision: str | None, where: str, revision_key: str) -> Path:
    """The directory of a model: a local one, or the download of a Hub id at a pinned commit.

    Args:
        where: what named the model, for the error message.
        revision_key: what should have pinned it.
    """
    path = located(name)
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"{where}: {name!r} is no directory with config and tokenizer")
    commit = require_commit(name, revision, where, revision_key)
    try:
        return hub.fetch(name, commit, "model", (*MODEL_FILES, *TOKENIZER_FILES))
    except Exception as error:
        if is_full_disk(error):
            raise
        # The client raises errors of several libraries; all others mean the same here.
        raise InputError(
            f"Hub model {name} at {commit}: cannot be fetched ({first_line(error)}). Check the "
            f"network, the id and {revision_key}; or download the files and name their directory "
            "instead"
        ) from error


def locate_pinned(name: str, where: str) -> Path:
    """The directory of a model: a local one, or the download of OWNER/NAME@COMMIT."""
    # What a copy of the project has made is its own, whatever the project has.
    if Path(name).is_dir():
        return Path(name)
    identifier, _, commit = (name, "", "") if located(name).is_dir() else name.partition("@")
    return locate(identifier, commit or None, where, "@COMMIT after the id")


def on_hub(*names: str | None) -> bool:
    """Whether one of the models that were named is to be fetched."""
    return any(name and not located(name).is_dir() for name in names)


def origin(directory: Path) -> str:
    """Which model the training of this one began with, as far as is known."""
    path = directory / ORIGIN
    return str(_read_object(path).get("base_model", "unknown")) if path.exists() else "unknown"


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Let each layer keep its input only, and compute the rest again in the backward pass.

    The library's own switch works in training mode alone, which training without dropout is not.
    """
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def check_length(model: PreTrainedModel, longest: int) -> None:
    """Refuse sequences longer than the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise InputError(
            f"the prepared pairs have up to {longest} tokens, but the model takes {positions} at "
            f"most; in params.yaml set data.max_length to {positions} or less"
        )


def load(directory: Path, random_seed: int | None = None) -> PreTrainedModel:
    """Load a model in float32, to train or to score; mixed precision casts as it goes.

    Args:
        directory: config.json and *.safetensors.
        random_seed: where given, a directory without weights makes a model with random ones.

    Raises:
        InputError: it is not whole, asks to run code, has only pickled weights, or is no causal
            language model.
    """
    settings = _config_values(directory)
    if "auto_map" in settings:
        raise InputError(
            f"{directory / 'config.json'}: auto_map asks to run code that comes with the model, "
            "which is never done; if transformers itself has the architecture, take auto_map out "
            "of the file, else use another model"
        )
    _require_own_shards(directory)
    weights = sorted(directory.glob("*.safetensors"))
    pickled = sorted([*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")])
    if pickled and not weights:
        raise InputError(
            f"{pickled[0]}: pickled weights can run code, so they are not read; save the model "
            "with save_pretrained, which writes safetensors"
        )
    if not weights and random_seed is None:
        raise InputError(f"{directory}: holds no *.safetensors; run dvc repro")
    try:
        if weights:
            model, info = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            _require_whole(info, directory)
        else:
            torch.manual_seed(random_seed or 0)
            config = AutoConfig.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except UNREADABLE as error:
        raise InputError(
            f"{directory}: cannot be loaded as a causal language model ({first_line(error)})"
        ) from None
    _require_causal(model, directory)
    _fuse_activations(model)
    return model


def _fuse_activations(model: PreTrainedModel) -> None:
    """Put torch's one-kernel form of the tanh-approximated GELU in the place of its spellings.

    Written out, as GPT-2's `gelu_new` is, it takes seven passes over the widest activations.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, TANH_GELUS):
                setattr(module, name, nn.GELU(approximate="tanh"))


def _require_whole(info: dict[str, set[str]], directory: Path) -> None:
    if info["missing_keys"]:
        raise InputError(
            f"{directory}: weights are missing ({', '.join(sorted(info['missing_keys'])[:5])}); "
            "random ones in their place would be a silent error. Fetch the model again"
        )
    if info["unexpected_keys"]:
        # Old checkpoints carry buffers that the code has since dropped.
        names = ", ".join(sorted(info["unexpected_keys"])[:5])
        logging.warning("%s: the model has no place for some weights: %s", directory, names)


@torch.no_grad()
def _require_causal(model: PreTrainedModel, directory: Path) -> None:
    """Refuse a model whose predictions see the answer; no config key tells it for all kinds."""
    ids = torch.zeros(2, 4, dtype=torch.long)
    ids[1, -1] = 1
    one, other = model.eval()(input_ids=ids, use_cache=False).logits[:, :-1]
    if not torch.allclose(one, other, rtol=1e-4, atol=1e-4):
        raise InputError(
            f"{directory}: no causal language model: its predictions depend on later tokens"
        )


def _require_own_shards(directory: Path) -> None:
    for index in directory.glob("*.safetensors.index.json"):
        for name in texts(_read_object(index).get("weight_map")):
            if leads_out(name):
                raise InputError(
                    f"{index}: weight_map names a file outside of the model's directory: {name!r}; "
                    "do not use this model"
                )


def _config_values(directory: Path) -> dict[str, object]:
    path = directory / "config.json"
    if not path.exists():
        raise InputError(
            f"{path}: no such file; a model directory needs config.json, tokenizer files and, "
            "unless random weights are wanted, *.safetensors"
        )
    return _read_object(path)


def _read_object(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected an object, as save_pretrained writes it")
    return values
