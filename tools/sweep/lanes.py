"""Several runs at a time, each in a copy of the project that has its share of the machine."""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from tools.sweep import copies
from tools.sweep.follow import Outcome, Place, Told, interrupt
from tools.sweep.study import SEED, Variant

if TYPE_CHECKING:
    from dvc.repo import Repo

VISIBLE = "CUDA_VISIBLE_DEVICES"


def runs(
    repo: "Repo", variants: Sequence[Variant], told: Told, jobs: int
) -> Generator[tuple[Variant, Outcome]]:
    """Run each variant as an experiment, `jobs` of them at a time; gives them as they end.

    Which copy a variant runs in depends on its place alone, so that a sweep that was interrupted
    finds the checkpoints there. Variants of one seed share a copy, and in it what they can.
    """
    seeds = [variant.settings.get(SEED, number) for number, variant in enumerate(variants)]
    order = list(dict.fromkeys(seeds))
    lanes = [ThreadPoolExecutor(1) for _ in range(min(jobs, len(order)))]
    places = [
        Place(copies.copy(repo, number), share(number, len(lanes))) for number in range(len(lanes))
    ]
    started: dict[Future[Outcome], Variant] = {}
    try:
        for variant, seed in zip(variants, seeds, strict=True):
            number = order.index(seed) % len(lanes)
            name, settings = f"sweep-{variant.name}", variant.settings
            future = lanes[number].submit(copies.run, repo, name, settings, told, places[number])
            started[future] = variant
        for future in as_completed(started):
            yield started[future], future.result()
    finally:
        for lane in lanes:
            lane.shutdown(wait=False, cancel_futures=True)
        # One may have been about to begin.
        while not all(future.done() for future in started):
            interrupt()
            time.sleep(0.1)


def share(number: int, of: int) -> Mapping[str, str]:
    """Environment variables that give a run its part of the machine's cores and GPUs.

    Args:
        number: which part, from 0.
        of: how many there are; all of the machine where it is one.
    """
    if of == 1:
        return {}
    import torch

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // of)))
    count = torch.cuda.device_count()
    devices = os.environ.get(VISIBLE, ",".join(map(str, range(count)))).split(",")[:count]
    # With fewer GPUs than runs, several share one.
    own = devices[number::of] or devices[number % len(devices) :][:1] if devices else []
    return {"OMP_NUM_THREADS": threads, **({VISIBLE: ",".join(own)} if own else {})}
