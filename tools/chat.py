r"""chat: talk to a saved model.

Each line of input is a question, each answer goes to standard output as it comes. The policy sees
the dialogue as its training data were laid out; a model that is named, by its own chat template,
or else with hh-rlhf's markers, "\n\nHuman: question\n\nAssistant: answer" for each turn so far,
then "\n\nHuman: question\n\nAssistant:". Where that is longer than the model takes, the beginning
goes. /new begins a new dialogue, /quit or the end of input (Ctrl-D) ends.
"""

import importlib
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import torch

from preference.core import params, signals, stage
from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data import tokens
from preference.data.encoding import Encoder
from preference.data.formats.example import Turn
from preference.data.templates import RefusedError
from preference.evaluation.generation import Speaker, answers, open_model
from preference.model import directories
from preference.runtime import devices
from preference.store import examples

POLICY, PREPARED = Path("models/policy"), Path("data/prepared/test.parquet")
TEMPLATES = ("hh", "chat", "none")


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    model = "a model directory, or a Hub id pinned as OWNER/NAME@COMMIT (default: the policy)"
    parser.add_argument("--model", help=model)
    layout = "how turns are laid out; none: a question alone, as it stands"
    parser.add_argument("--template", choices=TEMPLATES, help=layout)
    length = "of each answer (default %(default)s)"
    parser.add_argument("--max-new-tokens", type=int, default=128, help=length)
    draw = "0: the likeliest token; 1: drawn as the model has it (default %(default)s)"
    parser.add_argument("--temperature", type=float, default=0.0, help=draw)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")


def questions() -> Iterator[str]:
    """Lines from standard input, until it ends or one asks for it."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    watched = sys.stdin.isatty() and sys.stdout.isatty()
    if watched:
        with suppress(ImportError):
            # With it, `input` lets a line be edited and earlier ones be had again.
            importlib.import_module("readline")
    with suppress(EOFError):
        while (line := input("You: " if watched else "").strip()) != "/quit":
            if line:
                yield line
        return
    if watched:
        print()


def encoder(directory: Path, args: Namespace, settings: Data) -> Encoder:
    """What lays out a dialogue for a model."""
    loaded = tokens.load(directories.tokenizer_of(directory))
    template = args.template or ("chat" if loaded.chat_template else "hh")
    if not (args.template or args.model) and PREPARED.exists():
        template = examples.read(PREPARED).template
    return Encoder(loaded, settings.model_copy(update={"template": template}), template)


def reply(speaker: Speaker, prompt: np.ndarray, args: Namespace, generator: torch.Generator) -> str:
    """Print the answer to a prompt as it comes."""
    printed = 0

    def show(texts: list[str]) -> None:
        nonlocal printed
        print(texts[0][printed:], end="", flush=True)
        printed = len(texts[0])

    (answer,) = answers(
        speaker,
        [prompt],
        args.max_new_tokens,
        temperature=args.temperature,
        generator=generator,
        hear=show,
        where="--max-new-tokens",
    )
    show([f"{answer}\n"])
    return answer


def main(args: Namespace) -> None:
    for option, least in (("max_new_tokens", 1), ("temperature", 0), ("seed", 0)):
        value = getattr(args, option)
        if not least <= value < 2**63:
            raise InputError(f"--{option.replace('_', '-')}: must be {least} or more, not {value}")
    if not args.model and not POLICY.is_dir():
        raise InputError(f"{POLICY}: no such directory; run dvc repro, or name a --model")
    settings = params.load()
    accelerator = devices.accelerator(settings)
    directory = directories.locate_pinned(args.model or str(POLICY), "--model")
    speaker = open_model(directory, accelerator.device)
    laid_out = encoder(directory, args, settings.data)
    speaker = speaker.in_layout(laid_out.template.name, laid_out.end)
    generator = torch.Generator().manual_seed(args.seed)
    logging.info("%s: /new begins a new dialogue, /quit ends", directory)
    history: list[Turn] = []
    try:
        for question in questions():
            if question == "/new":
                history.clear()
                continue
            history.append(Turn("user", question))
            try:
                prompt = laid_out.asked(history)
            except RefusedError as error:
                raise InputError(f"the chat template refuses this dialogue: {error.said}") from None
            with accelerator.autocast():
                answer = reply(speaker, prompt, args, generator)
            history.append(Turn("assistant", answer))
    except signals.Stopped:
        # What is said of it begins on a line of its own.
        print()
        raise


if __name__ == "__main__":
    # It writes nothing, so others may go on beside it.
    stage.run(
        main, arguments=arguments, network=lambda args: directories.on_hub(args.model), lock=None
    )
