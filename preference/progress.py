"""Progress bars for long work: on standard error, seldom redrawn where nobody watches live."""

import sys

from tqdm import tqdm


def bar(description: str, total: int | None, unit: str) -> tqdm:
    """A bar with rate and time left; without a total, a count and rate; call `update(n)` on it, and close it or use `with`."""
    watched = sys.stderr.isatty()
    return tqdm(
        desc=description,
        total=total,
        unit=f" {unit}",
        mininterval=0.2 if watched else 10,
        maxinterval=10 if watched else 60,
        dynamic_ncols=watched,
        smoothing=0.1,
    )
