"""Progress bars for long work, on standard error: redrawn in a terminal, whole lines in a log."""

import io
import os
import sys

from tqdm import tqdm

EVERY = 30  # seconds between two lines in a log
UP = "\x1b[A"  # how a bar below another one goes back to its place
# Without the bar itself: a log wants numbers.
LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _Lines(io.TextIOBase):
    """Takes what a bar draws over itself, and writes each state as a line of its own."""

    def write(self, text: str) -> int:
        line = text.replace(UP, "").strip()
        if line:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        return len(text)


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
        file=sys.stderr if watched else _Lines(),
        mininterval=0.2 if watched else EVERY,
        maxinterval=10 if watched else 2 * EVERY,
        bar_format=LINE if total and not watched else None,
        dynamic_ncols=watched,
        smoothing=0.1,
        # Of several processes, the first one tells.
        disable=os.environ.get("RANK", "0") != "0",
    )
