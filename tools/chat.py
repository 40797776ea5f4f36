r"""chat: talk to a saved model.

Each line of input is a question, each answer goes to standard output as it comes. The model sees
the dialogue as its training pairs are written, "\n\nHuman: question\n\nAssistant: answer" for each
turn so far, then "\n\nHuman: question\n\nAssistant:"; where that is longer than the model takes,
the beginning goes. /new begins a new dialogue, /quit or the end of input (Ctrl-D) ends.
"""

import logging
import sys
from argparse import Namespace
from pathlib import Path

import torch

from preference.core import params, signals, stage
from preference.evaluation import generation
from preference.model import loading
from preference.runtime import devices
from tools import conversation

POLICY = Path("models/policy")


def main(args: Namespace) -> None:
    conversation.require_possible(args, POLICY)
    accelerator = devices.accelerator(params.load())
    directory = loading.locate_pinned(args.model or str(POLICY), "--model")
    speaker = generation.open_model(directory, accelerator.device)
    generator = torch.Generator().manual_seed(args.seed)
    logging.info("%s: /new begins a new dialogue, /quit ends", directory)
    history: list[tuple[str, str]] = []
    try:
        for question in conversation.questions(watched=sys.stdin.isatty() and sys.stdout.isatty()):
            if question == "/new":
                history.clear()
                continue
            with accelerator.autocast():
                answer = conversation.reply(speaker, history, question, args, generator)
            history.append((question, answer))
    except signals.Stopped:
        # What is said of it begins on a line of its own.
        print()
        raise


if __name__ == "__main__":
    stage.run(
        main,
        arguments=conversation.arguments,
        network=lambda args: loading.on_hub(args.model),
        # It writes nothing, so others may go on beside it.
        alone=False,
    )
