"""export: write the policy to a directory of its own, for transformers or for llama.cpp.

For transformers: safetensors, config, tokenizer, chat template; an adapter is merged into its base.
For llama.cpp and what is built on it (--format gguf): one file with all of it. The policy's card
goes along as README.md.
"""

import logging
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from preference.core import stage
from preference.core.errors import InputError
from preference.core.files import replacing
from preference.model import directories, loading
from preference.store import checksums
from preference.store.text import write_text
from tools import to_gguf
from tools.policy import CARD, README, card, located, outdated, require_new, show

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FORMATS = ("safetensors", "gguf")


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("to", help="a directory that does not exist yet, or is empty")
    kind = "safetensors for transformers, gguf for llama.cpp (default %(default)s)"
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=kind)
    dtype = "of the weights (default %(default)s, as trained: nothing is rounded)"
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help=dtype)
    model = "another model's or adapter's directory, or a Hub id pinned as OWNER/NAME@COMMIT"
    parser.add_argument("--model", help=f"{model} (default: the policy)")


def write(directory: Path, to: Path, kind: str, dtype: str) -> None:
    """Write a model into a directory that is there.

    Args:
        directory: the model's, or an adapter's.
        kind: one of `FORMATS`.
        dtype: one of `DTYPES`.

    Raises:
        InputError: it cannot be loaded, does not fit the precision, or GGUF cannot say what it is.
    """
    model = loading.load(directory)
    require_range(model, dtype, directory)
    source = directories.tokenizer_of(directory)
    if kind == "gguf":
        name = directory.resolve().name
        to_gguf.write(model, source, to / f"{name}-{dtype}.gguf", name, dtype)
        return
    model.to(DTYPES[dtype]).save_pretrained(to)
    for pattern in directories.TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, to / file.name)


def require_range(model: PreTrainedModel, dtype: str, directory: Path) -> None:
    """Refuse weights that would become infinite."""
    limit = torch.finfo(DTYPES[dtype]).max
    for name, parameter in model.named_parameters():
        if (largest := float(parameter.detach().abs().max())) > limit:
            raise InputError(
                f"{directory}: {name} has weights of up to {largest:g}, and {dtype} ends at "
                f"{limit:g}; take bf16 or fp32"
            )


def with_card() -> bool:
    """Whether there is a card, and it speaks of the policy as it is."""
    wrong = "there is none" if not CARD.exists() else ", ".join(outdated())
    if wrong:
        logging.warning("without a card (%s: %s); make repro writes it", CARD, wrong)
    return not wrong


def main(args: Namespace) -> None:
    to = require_new(args.to)
    directory = located(args.model)
    checksums.require_undamaged(directory)
    described = not args.model and with_card()
    with replacing(to) as temporary:
        temporary.mkdir()
        write(directory, temporary, args.format, args.dtype)
        if described:
            write_text(temporary / README, card(to.resolve().name))
    show(to)


if __name__ == "__main__":
    # It reads what stages write when they are done, so others may go on beside it.
    stage.run(
        main, arguments=arguments, network=lambda args: directories.on_hub(args.model), lock=None
    )
