"""Scorers whose device is small, or whose process ends."""

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from preference.model.abilities import Abilities
from preference.model.batches import Batch
from preference.model.compiled import Layer
from preference.model.scorer import ResponseLogps

PACKED = Abilities("packed", bare_output=True)
COMPILED = replace(PACKED, compiled=True)


def with_gradient(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    """The layer, whose compiled form has the plain one's values and a gradient that is changed."""

    def run(*args: Any, **kwargs: Any) -> Tensor:
        found: Tensor = layer._plain(*args, **kwargs)
        if found.requires_grad:
            found.register_hook(change)
        return found

    layer._compiled = run
    return layer


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
