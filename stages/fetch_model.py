"""fetch-model: make, copy or download the base named in params into models/base."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.data.sources import demo
from preference.model import base

OUT = Path("models/base")


def main(args: Namespace) -> None:
    settings = params.load()
    wanted = settings.data.template
    template = Path(wanted).expanduser() if wanted.endswith(".jinja") else None
    base.create_base(settings.model, settings.seed, OUT, demo.texts(), template)
    logging.info("%s: from %s", OUT, settings.model.base)


if __name__ == "__main__":
    stage.run(main, network=lambda args: True)
