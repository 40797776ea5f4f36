"""A conversation with a model, line by line: its options, the questions, the answers."""

import importlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import torch

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.formats import hh
from preference.evaluation import generation


def arguments(parser: ArgumentParser) -> None:
    """The options of `chat`."""
    parser.add_argument(
        "--model",
        help="a model directory, or a Hub id pinned as OWNER/NAME@COMMIT (default: the policy)",
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, help="of each answer (default %(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        help="0: the likeliest token; 1: drawn as the model has it (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")


def require_possible(args: Namespace, default: Path) -> None:
    """Refuse options that nothing can be done with; `default` is the model if none is named."""
    for option, least in (("max_new_tokens", 1), ("temperature", 0), ("seed", 0)):
        value = getattr(args, option)
        if not least <= value < 2**63:
            raise InputError(f"--{option.replace('_', '-')}: must be {least} or more, not {value}")
    if not args.model and not default.is_dir():
        raise InputError(f"{default}: no such directory; run dvc repro, or name a --model")


def questions(watched: bool) -> Iterator[str]:
    """Lines from standard input, until it ends or one asks for it."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
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


def reply(
    speaker: generation.Speaker,
    history: list[tuple[str, str]],
    question: str,
    args: Namespace,
    generator: torch.Generator,
) -> str:
    """Print the answer to a question as it comes."""
    prompt = tokens.encode(speaker.tokenizer, [hh.dialogue(history, question)])[0]
    printed = 0

    def show(text: str, end: str = "") -> None:
        nonlocal printed
        print(text[printed:], end=end, flush=True)
        printed = len(text)

    (answer,) = generation.answers(
        speaker,
        [prompt],
        args.max_new_tokens,
        temperature=args.temperature,
        generator=generator,
        hear=lambda texts: show(texts[0]),
        where="--max-new-tokens",
    )
    show(answer, end="\n")
    return answer
