"""Models in directories: which one is meant, what belongs to it, where its training began."""

from pathlib import Path

from preference.core import hub
from preference.core.errors import InputError, first_line, is_full_disk
from preference.core.optimization import RANDOM_WEIGHTS
from preference.core.paths import located
from preference.core.pins import require_commit
from preference.model import adapters, weights
from preference.store import checksums

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
