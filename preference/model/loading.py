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

from preference.core import hub
from preference.core.errors import InputError, first_line, is_full_disk, one_line
from preference.core.optimization import RANDOM_WEIGHTS
from preference.core.paths import located
from preference.core.pins import require_commit
from preference.model import adapters, checks, layers, stored, weights
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
# Beside a model's own files: which one its training began with.
ORIGIN = "origin.json"
# What of a model is fetched: weights only as safetensors, and no code.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    adapters.CONFIG,
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
    """Whether one of the models that were named, or the base of one, is to be fetched."""
    return any(
        name and (not located(name).is_dir() or _base_on_hub(located(name))) for name in names
    )


def _base_on_hub(directory: Path) -> bool:
    try:
        if not adapters.found(directory) or _trained_on(directory):
            return False
        return not located(adapters.base(directory).name).is_dir()
    except InputError:
        # Which is said where the model is loaded.
        return False


def base_of(directory: Path) -> Path | None:
    """The directory of the model that an adapter belongs to; None where there is no adapter.

    Raises:
        InputError: it cannot be used, or does not exist.
    """
    if not adapters.found(directory):
        return None
    base = adapters.base(directory)
    name, revision, where = base
    if digest := _trained_on(directory):
        found = adapters.recorded(directory, base, digest)
    else:
        found = locate(name, revision, where, "the key revision beside it")
    if adapters.found(found):
        raise InputError(f"{where}: {name!r} is an adapter itself; merge it and save a whole model")
    return found


def _trained_on(directory: Path) -> str | None:
    """Which base an adapter that was trained here belongs to; see `adapters.recorded`."""
    path = directory / ORIGIN
    found = weights.read_object(path).get(adapters.TRAINED_ON) if path.exists() else None
    return found if isinstance(found, str) else None


def parts(directory: Path) -> list[Path]:
    """The directories that a model is in: its own and, of an adapter, that of its base."""
    base = base_of(directory)
    return [directory, base] if base else [directory]


def tokenizer_of(directory: Path) -> Path:
    """Where a model's tokenizer is: with an adapter, or else with its base."""
    own = (directory / "tokenizer.json").exists()
    return directory if own else parts(directory)[-1]


def described(directory: Path, *, random: bool) -> str:
    """What metrics call a local model: its name, and the begin of a digest of its weights.

    No path, which would tell of a machine.
    """
    name = directory.resolve().name
    found = [] if random else weights.find(parts(directory)[-1], adapters.WEIGHTS)
    if not found:
        return f"{name}{RANDOM_WEIGHTS}"
    own = directory / adapters.WEIGHTS
    return f"{name} ({checksums.short([*[own] * own.exists(), *found])})"


def origin(directory: Path) -> str:
    """Which model the training of this one began with, as far as is known."""
    path = directory / ORIGIN
    if path.exists():
        return str(weights.read_object(path).get("base_model", "unknown"))
    base = base_of(directory)
    return origin(base) if base else "unknown"


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
    where = base_of(directory)
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
        with heard(directory):
            if not found:
                logging.warning(
                    "%s: %s: the model begins with RANDOM ones, made from config.json and the seed",
                    directory,
                    "its weights are ignored" if ignore_weights else "no weights there",
                )
                torch.manual_seed(random_seed or 0)
                return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            model, info = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=stored.dtype(found) if mapped else torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
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
