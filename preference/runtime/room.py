"""How many tokens a micro-batch may have on a GPU, found out by two short passes.

What a pass takes grows with its tokens, and by how much is the model's own: by arithmetic 0.3 MB a
token of GPT-2 124M in training, 8 MB of an 8B Llama.
"""

import gc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch

SHORT = 256  # positions of the first pass, at least; the second has twice as many
SHARE = 0.85  # of what is free: the allocator's blocks do not fit without gaps
MOST = 2**16  # positions; with more a pass is no faster

# Over the items of given indices, leaving nothing behind.
Pass = Callable[[np.ndarray], object]


class Meter(Protocol):
    """Memory of a device, in bytes."""

    def peak(self, work: Callable[[], object]) -> int:
        """The most that some work takes at once, beside what is held before it."""
        ...

    def free(self) -> int: ...


class Cuda:
    """That of the GPU in use."""

    def peak(self, work: Callable[[], object]) -> int:
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - held

    def free(self) -> int:
        gc.collect()
        # The allocator keeps blocks of sizes that are not asked for again.
        torch.cuda.empty_cache()
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + unused


class Room(NamedTuple):
    """What two passes tell: positions that there is room for, bytes of each, and bytes free."""

    tokens: int
    each: float
    free: int


def measured(meter: Meter, run: Pass, positions: np.ndarray, reserved: int = 0) -> Room | None:
    """What there is room for, linear in what two short passes take.

    Args:
        positions: of each item, padding included.
        reserved: bytes that are not taken yet and will be kept.

    Returns:
        None where there are too few items to tell.
    """
    order = np.argsort(-positions, kind="stable")
    total = np.cumsum(positions[order])
    first = int(np.searchsorted(total, SHORT))
    if first >= len(total):
        return None
    second = int(np.searchsorted(total, 2 * total[first]))
    if second >= len(total):
        return None
    short, longer = (order[: last + 1] for last in (first, second))
    # The first time, libraries take what they keep.
    run(short)
    peaks = [meter.peak(partial(run, index)) for index in (short, longer)]
    each = max(1.0, float((peaks[1] - peaks[0]) / (total[second] - total[first])))
    free = meter.free() - reserved
    # What a pass takes whatever its tokens: gradients, copies of weights.
    always = max(0.0, peaks[0] - each * total[first])
    return Room(int(np.clip(SHARE * (free - always) / each, 1, MOST)), each, free)
