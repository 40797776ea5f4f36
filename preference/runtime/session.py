"""One stage's work with a model: where it computes, when it keeps its state, how it stops."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from preference.core import signals
from preference.core.errors import InputError
from preference.core.params import Params, Runtime
from preference.runtime import devices, processes, room
from preference.runtime.checkpoints import Checkpoints
from preference.runtime.room import Meter, Pass


class Agreement(NamedTuple):
    """What all processes do next: sums over them, whether to keep the state, whether to stop."""

    totals: list[float]
    due: bool
    stop: bool


def agreement(exchanged: Sequence[float]) -> Agreement:
    """What `Session.exchange` found, once it is read."""
    *totals, due, stop = exchanged
    return Agreement(totals, bool(due), bool(stop))


@dataclass
class Session:
    """What the stages that run a model share.

    Attributes:
        stage: names it in messages.
        tokens_per_batch: positions in a micro-batch; halved where memory runs out.
        meter: of the device's memory, which they are to be measured by; None where they are known.
        overlap: whether the host prepares the next step and reads the last one's numbers while the
            device computes.
    """

    stage: str
    params: Params
    accelerator: Accelerator
    checkpoints: Checkpoints
    tokens_per_batch: int
    meter: Meter | None = None
    overlap: bool = False
    _request: signals.Request = field(default_factory=signals.Request)

    @property
    def runtime(self) -> Runtime:
        return self.params.runtime

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait: it asks to stop, and `agree` tells."""
        with signals.held() as self._request:
            yield

    def exchange(self, values: Tensor) -> Tensor:
        """One exchange between the processes, so that none goes on where another stops.

        Args:
            values: (numbers,), to be summed up over all; exact where every entry comes from one of
                them.

        Returns:
            The sums, then how many want to keep the state and how many were asked to stop, where
            the values are: for `agreement`.
        """
        asked = self._request.number is not None
        own = torch.tensor([self.checkpoints.due() or asked, asked], dtype=values.dtype)
        own = torch.cat([values, own.to(values.device, non_blocking=True)])
        return processes.summed(self.accelerator, own)

    def agree(self, *values: float) -> Agreement:
        """The same of what is on the host, and waited for."""
        return agreement(self.exchange(torch.tensor(values, dtype=torch.float64)).tolist())

    def anywhere(self, happened: bool) -> bool:
        """Whether something happened in one of the processes."""
        return processes.anywhere(self.accelerator, happened)

    def stop_if_asked(self) -> None:
        """Raise `signals.Stopped` on every process if a signal has asked one of them."""
        if self.agree().stop:
            raise signals.Stopped(self._request.number or signals.SIGNALS[-1])

    def make_room(
        self,
        run: Pass,
        sizes: np.ndarray,
        *,
        reserved: int = 0,
        alone: bool = True,
    ) -> None:
        """Take micro-batches as large as the device has memory for, if it has a meter.

        Args:
            sizes: rows and longest row of each item, (items, 2).
            reserved: bytes that will be taken after this, and kept.
            alone: whether no process waits for another in it; with sharded weights all do.
        """
        if self.meter is None:
            return
        tokens, told = self.tokens_per_batch, ""
        try:
            found = room.measured(self.meter, run, sizes.prod(1), reserved)
        except RuntimeError as error:
            self.require_out_of_memory(error, alone=alone)
            # One item at a time, then.
            tokens, found = 1, None
            clear_device_cache(garbage_collection=True)
        if found:
            tokens = found.tokens
            told = f": {found.each / 1e6:.2f} MB a token, {found.free / 1e9:.1f} GB free"
        self.tokens_per_batch = processes.smallest(self.accelerator, tokens)
        logging.info("micro-batches of %d tokens%s", self.tokens_per_batch, told)

    def require_out_of_memory(self, error: RuntimeError, *, alone: bool) -> None:
        """Raise what smaller micro-batches do not help against.

        Args:
            alone: whether the other processes, if there are some, do not wait for this one before
                they hear of it; with sharded weights they always do.

        Raises:
            RuntimeError: the error is another one.
            InputError: the other processes wait in the middle of a pass.
        """
        if not should_reduce_batch_size(error):
            raise error
        several = self.accelerator.num_processes > 1
        if several and (processes.sharded(self.accelerator) or not alone):
            raise InputError(
                f"{self.stage}: out of memory on process {self.accelerator.process_index}, in the "
                "middle of a pass of all processes; set runtime.tokens_per_batch in params.yaml to "
                f"less than {self.tokens_per_batch} and start again, with the same results"
                + self.checkpoints.kept()
            ) from None

    def halve(self, largest: int, *, single: bool) -> None:
        """Take smaller micro-batches from here on, on every process.

        Args:
            largest: positions of the largest micro-batch that was tried on any of them.
            single: whether none held more than one item.

        Raises:
            InputError: there is not memory enough for a single item.
        """
        if single:
            raise InputError(
                f"{self.stage}: out of memory with one item at a time; set "
                "runtime.gradient_checkpointing: true where it trains, or lower data.max_length"
            ) from None
        self.tokens_per_batch = min(self.tokens_per_batch, largest) // 2
        logging.warning(
            "out of memory: micro-batches of %d tokens from here on, with the same results",
            self.tokens_per_batch,
        )
        clear_device_cache(garbage_collection=True)


@contextmanager
def opened(
    stage: str, settings: Params, inputs: Sequence[Path], determined_by: Sequence[object] = ()
) -> Iterator[Session]:
    """A session; left without an error, it removes what it has kept to go on from.

    Args:
        inputs: files and directories that the stage's results depend on.
        determined_by: params that they depend on.

    Raises:
        InputError: an input is missing, or device or precision are not to be had here.
        signals.Stopped: one came while the session was open; it says what is kept.
    """
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or directory; run dvc repro")
    accelerator = devices.accelerator(settings)
    checkpoints = Checkpoints(
        stage,
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        determined_by=determined_by,
        inputs=inputs,
    )
    tokens = devices.tokens_per_batch(settings.runtime, accelerator, compiled=False)
    cuda = accelerator.device.type == "cuda"
    meter = room.Cuda() if cuda and settings.runtime.tokens_per_batch is None else None
    try:
        yield Session(stage, settings, accelerator, checkpoints, tokens, meter, overlap=cuda)
    except signals.Stopped as stopped:
        stopped.kept = checkpoints.newest
        raise
    checkpoints.done()
