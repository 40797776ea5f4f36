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


def dealt(variants: Sequence[Variant], lanes: int) -> list[int]:
    """Which lane each variant goes to, by its place alone: interrupted and started again, a sweep
    finds its checkpoints. Variants of one seed share a lane, and there what they can.
    """
    seeds = [variant.settings.get(SEED, number) for number, variant in enumerate(variants)]
    order = list(dict.fromkeys(seeds))
    return [order.index(seed) % lanes for seed in seeds]


def part(variants: Sequence[Variant], number: int, of: int) -> list[Variant]:
    """The variants of one lane, which may be a job of its own."""
    dealt_to = zip(variants, dealt(variants, of), strict=True)
    return [variant for variant, lane in dealt_to if lane == number]


def runs(
    repo: "Repo", variants: Sequence[Variant], told: Told, jobs: int, name: str = ""
) -> Generator[tuple[Variant, Outcome]]:
    """Run each variant as an experiment, `jobs` of them at a time; gives them as they end.

    Args:
        name: what the copies' names begin with.
    """
    numbers = dealt(variants, jobs)
    lanes = {number: ThreadPoolExecutor(1) for number in sorted(set(numbers))}
    places = {
        number: Place(copies.copy(repo, f"{name}{number}"), share(number, len(lanes)))
        for number in lanes
    }
    started: dict[Future[Outcome], Variant] = {}
    try:
        for variant, number in zip(variants, numbers, strict=True):
            experiment, settings = f"sweep-{variant.name}", variant.settings
            future = lanes[number].submit(
                copies.run, repo, experiment, settings, told, places[number]
            )
            started[future] = variant
        for future in as_completed(started):
            yield started[future], future.result()
    finally:
        for lane in lanes.values():
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
