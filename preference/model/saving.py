"""A trained model, written once: weights or adapter, tokenizer, and what it came from."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from preference.core.files import remove, replacing
from preference.model import adapters, directories, loading, lora, stored
from preference.model.directories import ORIGIN, TOKENIZER_FILES
from preference.model.scorer import ResponseLogps
from preference.runtime import processes
from preference.store import checksums
from preference.store.text import write_json

Weights = dict[str, torch.Tensor]


def save(
    accelerator: Accelerator, model: nn.Module, came_from: Path, out: Path, *, whole: bool = False
) -> None:
    """Save the language model behind a trained scorer, once; all processes take part.

    Of a model that was trained by LoRA it is the adapter that is saved.

    Args:
        model: the scorer, as `accelerator` has made it.
        came_from: the directory that training began with; its tokenizer and origin are taken over.
        whole: merge an adapter into its base, read anew, in float32, and save that.
    """
    scorer: ResponseLogps = accelerator.unwrap_model(model)
    adapted = lora.injected(scorer.model)
    with _gathered(accelerator, scorer, out) as weights:
        if not accelerator.is_main_process:
            return
        with replacing(out) as temporary:
            if adapted and whole:
                with TemporaryDirectory() as place:
                    lora.save(scorer.model, weights, came_from, Path(place))
                    merged = adapters.merged(loading.load(came_from), Path(place))
                merged.save_pretrained(temporary)
            elif adapted:
                lora.save(scorer.model, weights, came_from, temporary)
            else:
                scorer.model.save_pretrained(temporary, state_dict=weights)
            _complete(temporary, came_from)


def save_whole(model: PreTrainedModel, came_from: Path, out: Path) -> None:
    """Save a model that was loaded, an adapter merged into its base for one.

    Args:
        came_from: the directory that it was loaded from; its tokenizer is taken over.
    """
    with replacing(out) as temporary:
        model.save_pretrained(temporary)
        write_json(temporary / ORIGIN, {"base_model": directories.origin(came_from)})
        _complete(temporary, directories.tokenizer_of(came_from))


def _complete(directory: Path, came_from: Path) -> None:
    """Put tokenizer and origin beside a model, if it has none of its own, and seal it all."""
    for pattern in (*TOKENIZER_FILES, ORIGIN):
        for file in came_from.glob(pattern):
            if not (directory / file.name).exists():
                shutil.copyfile(file, directory / file.name)
    checksums.seal(directory)


@contextmanager
def _gathered(
    accelerator: Accelerator, scorer: ResponseLogps, out: Path
) -> Iterator[Weights | None]:
    """What is to be saved of weights that are divided, whole, for the main process; else None.

    One after the other they are gathered, into files that are mapped: no process ever has two.

    Args:
        out: where they are to be saved; the files are beside it.
    """
    if not processes.sharded(accelerator):
        yield None
        return
    main, weights = accelerator.is_main_process, Weights()
    model = scorer.model
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    adapted = lora.injected(model)
    place = out.with_name(f".{out.name}.gathered")
    if main:
        # What a killed run left.
        remove(place)
        place.mkdir(parents=True)
    try:
        for number, (name, part) in enumerate(model.state_dict().items()):
            # Of what adapters stand beside nothing is saved.
            if name in model.all_tied_weights_keys or (adapted and name not in trained):
                continue
            value = processes.whole(part)
            if main:
                weights[name] = stored.keep(value, place / str(number))
            del value
        yield weights
    finally:
        if main:
            remove(place)
