"""Work done in two processes, which gloo connects, without a launcher."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from multiprocessing.queues import Queue
from socket import socket
from typing import TypeVar

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

T = TypeVar("T")


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def in_two_processes(work: Callable[[], T]) -> list[T]:
    """What `work` gives in each, in their order; an error in one fails.

    They have all that is imported already. What they give is sent as pickles.
    """
    started, results = _start(work)
    found = sorted((results.get(timeout=900) for _ in started), key=lambda result: result[0])
    for process in started:
        process.join()
    assert not any(error for *_, error in found), found
    return [value for _, values, _ in found for value in values]


def killed_in_two_processes(work: Callable[[], object]) -> None:
    """Let `work`, which kills one of the two, do so; then the other is killed, as by a launcher."""
    started, _ = _start(work)
    first = wait([process.sentinel for process in started], timeout=900)
    ended = [process for process in started if process.sentinel in first]
    for process in ended:
        process.join()
    codes = [process.exitcode for process in ended]
    for process in started:
        process.kill()
        process.join()
    assert -signal.SIGKILL in codes, codes


def _start(
    work: Callable[[], T],
) -> "tuple[list[ForkProcess], Queue[tuple[int, list[T], str]]]":
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    context = multiprocessing.get_context("fork")
    results: Queue[tuple[int, list[T], str]] = context.Queue()

    def run(rank: int) -> None:
        os.environ.update(there, WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        try:
            results.put((rank, [work()], ""))
        except BaseException as error:
            results.put((rank, [], f"{type(error).__name__}: {error}"))

    started = [context.Process(target=run, args=(rank,)) for rank in range(2)]
    for process in started:
        process.start()
    return started, results


def shard(made: Accelerator) -> None:
    """What a launch with recipes/accelerate/fsdp.yaml makes on GPUs, on this machine's CPUs.

    The launcher's library has no switch for it.
    """
    # Every state that the library makes anew takes its kind from the partial one.
    PartialState().distributed_type = made.state.distributed_type = DistributedType.FSDP
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True
    )
    if made.mixed_precision != "no":
        plugin.set_mixed_precision(made.mixed_precision)
    made.state.fsdp_plugin = plugin
