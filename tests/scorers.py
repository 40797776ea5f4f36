"""Scorers whose device is small, or whose process ends."""

import signal

import torch
from torch import Tensor

from preference.model.abilities import Abilities
from preference.model.batches import Batch
from preference.model.scorer import ResponseLogps

PACKED = Abilities("packed", bare_output=True)


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


class Small(ResponseLogps):
    """A scorer on a device that has memory for so many tokens only."""

    tokens = 0
    refused = 0

    def forward(self, batch: Batch) -> Tensor:
        if batch.input_ids.numel() > self.tokens:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return super().forward(batch)


class Mortal(ResponseLogps):
    """A scorer whose process ends, or is asked to stop, before the given pass."""

    passes = 0
    last = 10**9
    number: signal.Signals | None = None

    def forward(self, batch: Batch) -> Tensor:
        if self.passes == self.last:
            if self.number is None:
                raise Killed
            signal.raise_signal(self.number)
        self.passes += 1
        return super().forward(batch)
