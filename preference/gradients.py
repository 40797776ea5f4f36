"""The gradient of one step's loss, whatever memory there is to compute it in."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn

from preference import accumulation, batches, distribution
from preference.batches import Layout
from preference.errors import InputError
from preference.objectives import Objective
from preference.tables import Pairs


@dataclass
class Gradients:
    """Cuts steps into micro-batches, deals them to processes and adds their gradients up.

    Attributes:
        model: a scorer, as `accelerator` has made it.
        tokens_per_batch: positions in a micro-batch; halved when memory runs out.
    """

    model: nn.Module
    objective: Objective
    pairs: Pairs
    layout: Layout
    accelerator: Accelerator
    tokens_per_batch: int

    def __post_init__(self) -> None:
        self._sizes = batches.shapes(self.pairs, self.objective.items, self.layout)

    def leave(self, index: np.ndarray) -> float:
        """Leave the gradient of the loss over the items `index` in the parameters.

        Returns:
            This process's share of the loss: the sum over its items, over the weights of all.

        Raises:
            InputError: there is not memory enough for a single item.
        """
        while True:
            parts = self._micro_batches(index)
            try:
                return self._accumulate(index, parts)
            except RuntimeError as error:
                # Of several processes, the others wait for this one in the middle of a step.
                if self.accelerator.num_processes > 1 or not should_reduce_batch_size(error):
                    raise
            if max(map(len, parts)) == 1:
                raise InputError(
                    f"out of memory with one of the {self.objective.unit} at a time; set "
                    "runtime.gradient_checkpointing: true, or lower data.max_length"
                )
            largest = max(int(self._sizes[part, 1].sum()) for part in parts)
            self.tokens_per_batch = min(self.tokens_per_batch, largest) // 2
            logging.warning(
                "out of memory: micro-batches of %d tokens from here on, with the same gradients",
                self.tokens_per_batch,
            )
            accumulation.clear(self.model.parameters())
            clear_device_cache(garbage_collection=True)

    def _micro_batches(self, index: np.ndarray) -> list[np.ndarray]:
        """This process's micro-batches of the step that visits the items `index`.

        All processes get equally many, since with sharded weights each pass needs all of them:
        what one has less than another, it gets empty.
        """
        processes = self.accelerator.num_processes
        shares = [index[share] for share in distribution.deal(self._sizes[index, 1], processes)]
        parts = [
            [
                share[group]
                for group in batches.micro_batches(
                    self._sizes[share], self.tokens_per_batch, self.layout
                )
            ]
            for share in shares
        ]
        own = parts[self.accelerator.process_index]
        return own + [index[:0]] * (max(map(len, parts)) - len(own))

    def _accumulate(self, index: np.ndarray, parts: list[np.ndarray]) -> float:
        weight = self.objective.weights[index].sum()
        loss = 0.0
        for number, part in enumerate(parts):
            # An empty part takes part in the pass with any item, and adds nothing.
            visited = part if len(part) else index[:1]
            items = [self.objective.items[i] for i in visited]
            batch = batches.make(self.pairs, items, self.layout).to(self.accelerator.device)
            last = number == len(parts) - 1
            # Gradients are averaged over the processes once, with the last part.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                logps: torch.Tensor = self.model(batch)
                share = self.objective.loss(logps, batch.counts, visited).sum() / weight
                share = share * bool(len(part))
                self.accelerator.backward(share * self.accelerator.num_processes)
            loss += share.item()
        return loss
