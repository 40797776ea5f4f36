"""Work that a thread does ahead, and numbers that are read behind: so a GPU need not wait."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")


def made_ahead(make: Callable[[S], T], each: Iterable[S]) -> Generator[T, None, None]:
    """What `make` gives for each, in order; the next one is made while the caller works with one.

    What goes wrong is raised where its result would have come. Closing the iterator ends the
    thread, after what it is at.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        first: Future[T] | None = None
        for one in each:
            second = thread.submit(make, one)
            if first is not None:
                yield first.result()
            first = second
        if first is not None:
            yield first.result()


class Numbers:
    """Numbers on their way from the device: only who reads them waits until they are computed.

    Args:
        values: (numbers,).
    """

    def __init__(self, values: Tensor) -> None:
        # From a GPU, into memory that it writes by itself.
        self._values = values.to("cpu", non_blocking=True)
        self._event = None
        if values.is_cuda:
            # What is computed after this is not waited for.
            self._event = torch.cuda.Event()
            self._event.record()

    @cached_property
    def read(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._values.tolist()
