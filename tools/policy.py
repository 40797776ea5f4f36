"""The trained policy as the tools hand it on: its files, its card, and what is to be said of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from preference.core.errors import InputError, first_line
from preference.model import adapters, directories, loading, saving
from preference.model.directories import MODEL_FILES, TOKENIZER_FILES
from preference.model.weights import read_object
from preference.store import checksums

POLICY, CARD = Path("models/policy"), Path("results/card.md")
COMPARISON = Path("results/comparison.json")
# Words of the verdict with which a model is not handed to others by accident.
BAD = ("Broken", "Worse than before")
# Weights, configs, tokenizer, chat template: nothing else of a directory is handed on.
FILES = tuple(name for name in (*MODEL_FILES, *TOKENIZER_FILES) if name != adapters.CONFIG)
README = "README.md"


def outdated() -> list[str]:
    """Stages whose outputs are not those of the params, code and data as they are now.

    Raises:
        InputError: DVC cannot tell.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        # Everything that the policy and its card are made from leads to the report.
        return sorted(Repo().status(targets=["report"], with_deps=True))
    except DvcException as error:
        raise InputError(f"dvc status: {first_line(error)}; see what dvc repro says") from None


def verdict(force: bool) -> str:
    """The verdict on the policy.

    Raises:
        InputError: there is no policy, it or its card is not current or damaged, or the verdict is
            bad and `force` is not set.
    """
    if not POLICY.is_dir():
        raise InputError(f"{POLICY}: no such directory; run make repro")
    if stages := outdated():
        raise InputError(
            f"{', '.join(stages)}: not up to date with params, code and data (dvc status says "
            "why), so the card may speak of another model; run make repro, or dvc pull what is "
            "missing"
        )
    checksums.require_undamaged(POLICY)
    word = str(read_object(COMPARISON)["verdict"])
    if word in BAD and not force:
        raise InputError(
            f"{COMPARISON}: the verdict on this policy is {word!r}; see results/table.md, and "
            "train it again; or write FORCE=1 if it is meant to be published all the same"
        )
    return word


def located(model: str | None) -> Path:
    """Where a model is that was named, or the policy.

    Raises:
        InputError: there is none.
    """
    if not model and not POLICY.is_dir():
        raise InputError(f"{POLICY}: no such directory; run make repro, or name another MODEL")
    return directories.locate_pinned(model or str(POLICY), "--model")


def require_new(to: str) -> Path:
    """Refuse a place where something is."""
    path = Path(to)
    if not to or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise InputError(
            f"TO={to}: name a directory that does not exist yet, or is empty; nothing is "
            "written over"
        )
    return path


def show(to: Path) -> None:
    """Print what was written, with its size."""
    for file in sorted(to.iterdir()):
        print(f"{file.stat().st_size:>16,} {file}")


def card(name: str) -> str:
    """The card of the policy as the README of what is handed on.

    Args:
        name: by which those who have it load the model.
    """
    text = CARD.read_text(encoding="utf-8")
    return text.replace(f'from_pretrained("{POLICY}")', f'from_pretrained("{name}")')


@contextmanager
def whole(directory: Path) -> Iterator[Path]:
    """A model's directory; of an adapter, one that holds it merged, and is gone afterwards."""
    if not adapters.found(directory):
        yield directory
        return
    # Beside it, where there is room for models.
    with TemporaryDirectory(prefix=".merged-", dir=directory.parent) as place:
        merged = Path(place, directory.name)
        saving.save_whole(loading.load(directory), directory, merged)
        yield merged


def files(directory: Path) -> list[Path]:
    """The files of a model's directory that are handed on."""
    return sorted({file for pattern in FILES for file in directory.glob(pattern)})
