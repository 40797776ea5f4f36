"""Models in directories: find and load them. Safetensors only, never code from outside."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from preference.core.errors import InputError, one_line
from preference.model import adapters, checks, directories, layers, stored, weights
from preference.store import checksums

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


def load(
    directory: Path,
    random_seed: int | None = None,
    *,
    ignore_weights: bool = False,
    mapped: bool = False,
) -> PreTrainedModel:
    """Load a model in float32, to train or to score; mixed precision casts as it goes.

    Args:
        directory: config.json and *.safetensors, or a LoRA adapter, which is merged into its base.
        random_seed: where given, a directory without weights makes a model with random ones.
        ignore_weights: make random ones whatever the directory holds.
        mapped: leave weights in their file, and in the precision that they have there, until
            `processes.divided` has given each process its part; then `require_sound` is to be
            called. (An adapter and its base are in memory first.)

    Raises:
        InputError: it is not whole, asks to run code, has only pickled weights, is no causal
            language model, or its config says other things than its weights.
    """
    where = directories.base_of(directory)
    if where:
        logging.info("%s: an adapter, merged into its base %s", directory, where)
        checksums.require_undamaged(where)
        model = adapters.merged(load(where), directory)
    else:
        model = _whole(directory, random_seed, ignore_weights, mapped)
    if not mapped:
        require_sound(model, model, directory)
    layers.fuse_activations(model)
    return model


def require_sound(
    model: PreTrainedModel,
    run: Callable[..., Any],
    place: Path,
    whole: Callable[[Tensor], Tensor] = lambda value: value,
) -> None:
    """Refuse a model whose weights are broken or that is no causal one.

    Args:
        run: what gives the model's outputs, in float32.
        place: where it came from, for the error message.
        whole: makes one number of those that processes have of their parts.
    """
    checks.require_finite(model, place, whole)
    model.eval()
    checks.require_causal(run, model.device, place)


def _whole(
    directory: Path, random_seed: int | None, ignore_weights: bool, mapped: bool
) -> PreTrainedModel:
    config = read_config(directory)
    found = [] if ignore_weights else weights.find(directory, adapters.WEIGHTS)
    if not found and random_seed is None:
        raise InputError(
            f"{directory}: holds no *.safetensors (of a model on the Hub nothing else is fetched: "
            "pickled weights can run code). Take a model or a commit that has them; for random "
            "weights set model.weights: random. What a stage should have made dvc repro makes"
        )
    try:
        if not found:
            logging.warning(
                "%s: %s: the model begins with RANDOM ones, made from config.json and the seed",
                directory,
                "its weights are ignored" if ignore_weights else "no weights there",
            )
            torch.manual_seed(random_seed or 0)
            with heard(directory):
                return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model, info = from_files(
            directory,
            dtype=stored.dtype(found) if mapped else torch.float32,
            output_loading_info=True,
            # The message of `require_stored` says where they differ.
            ignore_mismatched_sizes=True,
        )
    except UNREADABLE as error:
        raise InputError(
            f"{directory}: cannot be loaded as a causal language model ({one_line(error)})"
        ) from None
    left = checks.require_stored(info, directory)
    if left:
        # Old checkpoints carry buffers that the code has since dropped.
        names = ", ".join(left[:5])
        logging.warning("%s: the model has no place for some weights: %s", directory, names)
    checks.require_tied(model, directory)
    if mapped:
        stored.widen_buffers(model, config)
    return model


def from_files(directory: Path, **settings: Any) -> Any:
    """A model as transformers makes it: from safetensors, and without code that comes with them.

    Raises:
        UNREADABLE: one of them.
    """
    with heard(directory):
        return AutoModelForCausalLM.from_pretrained(
            directory,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **settings,
        )


def read_config(directory: Path) -> PreTrainedConfig:
    """A model's config.

    Raises:
        InputError: it is missing, not valid, or asks to run code.
    """
    path = directory / "config.json"
    if not path.exists():
        raise InputError(
            f"{path}: no such file; a model directory needs config.json, tokenizer files and, "
            "unless random weights are wanted, *.safetensors"
        )
    if "auto_map" in weights.read_object(path):
        raise InputError(
            f"{path}: auto_map asks to run code that comes with the model, which is never done; if "
            "transformers itself has the architecture, take auto_map out of the file, else use "
            "another model"
        )
    try:
        config = AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not a config that transformers takes ({one_line(error)})"
        ) from None
    if isinstance(rows := getattr(config.get_text_config(decoder=True), "vocab_size", None), int):
        checks.require_padding(path, rows)
    return config


@contextmanager
def heard(place: Path) -> Iterator[None]:
    """Pass on what transformers warns of meanwhile; for all other times a stage makes it silent.

    Its table of missing and left-over weights is left out, of which this module speaks itself.

    Args:
        place: what it speaks of.
    """
    library = logging.getLogger("transformers")
    level, handlers, propagate = library.level, library.handlers, library.propagate
    library.setLevel(logging.WARNING)
    library.handlers = [_Heard(place)]
    # With CI set in the environment transformers hands all up as well, the table too.
    library.propagate = False
    try:
        yield
    finally:
        library.handlers, library.propagate = handlers, propagate
        library.setLevel(level)


class _Heard(logging.Handler):
    def __init__(self, place: Path) -> None:
        super().__init__(logging.WARNING)
        self._place = place

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "LOAD REPORT" not in message:
            logging.warning("%s: transformers: %s", self._place, " ".join(message.split()))
