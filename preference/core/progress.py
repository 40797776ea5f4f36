"""Progress bars for long work: on standard error, seldom redrawn where nobody watches live."""

import os
import sys

from tqdm import tqdm


def bar(description: str, total: int | None, unit: str, done: int = 0) -> tqdm:
    """A progress bar with rate and time left, to use as a context; call `update(n)` on it.

    Args:
        total: how many there will be; where None, only count and rate are shown.
        unit: what is counted, in the plural.
        done: how many are done already.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        unit=f" {unit}",
        mininterval=0.2 if watched else 10,
        maxinterval=10 if watched else 60,
        dynamic_ncols=watched,
        smoothing=0.1,
        # Of several processes, the first one tells.
        disable=os.environ.get("RANK", "0") != "0",
    )
