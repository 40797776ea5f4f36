"""fetch-model: make, copy or download the base named in params into models/base."""

import logging
from argparse import Namespace
from pathlib import Path

from preference import bases, command, params

OUT = Path("models/base")


def main(args: Namespace) -> None:
    settings = params.load()
    bases.create_base(settings.model, settings.seed, OUT)
    logging.info("%s: from %s", OUT, settings.model.base)


if __name__ == "__main__":
    command.run(main, network=command.always)
