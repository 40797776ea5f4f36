"""How every stage starts: arguments, quiet libraries, the Hub off, errors for people."""

import argparse
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

from preference.core import durations, signals
from preference.core.errors import InputError, first_line, is_full_disk
from preference.core.lock import alone

if getattr(sys.modules["__main__"].__spec__, "parent", None) == "stages":
    # A stage is this import's program, and this its first import. The libraries that follow make
    # objects by the hundred thousand and drop few: looking through them took a third of the
    # start-up, and as long again at the end (see `run`).
    gc.disable()
    if not sys.stderr.isatty():
        # Libraries draw bars that only a terminal can redraw; tqdm reads this when it is imported,
        # and the bars of this project say for themselves.
        os.environ.setdefault("TQDM_DISABLE", "1")


TELLING = 3  # seconds


def run(
    main: Callable[[argparse.Namespace], None],
    *,
    network: Callable[[argparse.Namespace], bool] = lambda args: False,
    lock: Callable[[argparse.Namespace], str | None] | None = lambda args: None,
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Run a stage's `main` and exit: 0, or 1 after one message on standard error.

    Args:
        main: takes the parsed arguments; its module's docstring is the help text.
        network: whether the stage may reach the Hub; else every client is switched off.
        lock: name of what two at once must not do, None for the stage's own; without it, two at
            once are not refused.
        arguments: adds the stage's own command line options.
    """
    gc.freeze()
    gc.enable()
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else main.__module__
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=module.__doc__)
    arguments(parser)
    args = parser.parse_args()
    # Of several processes the first one tells, and on errors the first one of each host.
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for library in ("dvclive", "httpx", "httpx2", "filelock", "fsspec"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Of shared tensors, which are saved once and stay shared when they are read.
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    # It prints for itself, and would be printed twice.
    logging.getLogger("huggingface_hub").propagate = False
    if not network(args):
        switch_hub_off()
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.set_verbosity_error()
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    signals.stop_at_once()
    first_of_host = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        with alone(lock(args) or name) if first and lock else nullcontext():
            began = time.monotonic()
            main(args)
            if first and (stage := os.environ.get("DVC_STAGE")):
                durations.record(stage, time.monotonic() - began)
    except InputError as error:
        _exit(f"error: {error}" if first_of_host else "", 1)
    except signals.Stopped as stopped:
        _exit(_farewell(stopped), stopped.status)
    except Exception as error:
        if not is_full_disk(error):
            raise
        _exit(
            f"error: {first_line(error)}; make room on the disk and run dvc repro; earlier results "
            "are as they were",
            1,
        )
    _leave_group()


def _farewell(stopped: signals.Stopped) -> str:
    left = f"stopped by {stopped}; earlier results are as they were; dvc repro "
    if stopped.kept:
        return f"{left}goes on with this stage where it was: its state is kept in {stopped.kept}"
    return f"{left}begins this stage anew"


def _exit(message: str, status: int) -> None:
    if message:
        print(message, file=sys.stderr)
    else:
        # A launcher stops the others when one ends: the first of the host tells before.
        time.sleep(TELLING)
    sys.exit(status)


def _leave_group() -> None:
    """Take leave of the other processes, where a launcher started several."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def switch_hub_off() -> None:
    """Make the clients of network services refuse every request, here and in child processes."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # DVCLive would post curves to DVC's own service where a token for it is set.
    os.environ["DVC_STUDIO_OFFLINE"] = "true"
    client = sys.modules.get("huggingface_hub.constants")
    if client is not None:
        # The client read the environment when it was imported.
        client.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
