"""The gradient of one step's loss, accumulated over micro-batches that fit into memory."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from preference.model import batches, cpu
from preference.model.batches import Batch, Layout
from preference.objectives.objective import NO_SUMS, Task
from preference.runtime import processes
from preference.runtime.session import Session
from preference.store.examples import Examples, Ragged
from preference.store.index import blocks


@dataclass
class Gradients:
    """Cuts steps into micro-batches, deals them to processes and adds their gradients up.

    Attributes:
        model: a scorer, as `accelerator` has made it.
    """

    model: nn.Module
    task: Task
    layout: Layout
    session: Session

    def __post_init__(self) -> None:
        # Positions of the largest micro-batch that every process had memory for.
        self._proved = 0

    def make_room(self, reserved: int) -> None:
        """Measure how large micro-batches may be, where that is to be measured.

        Args:
            reserved: bytes that the optimizer will take.
        """

        def run(index: np.ndarray) -> None:
            try:
                self._accumulate(index, [index], self._statistics(index, [index]), alone=True)
            finally:
                cpu.clear(self.model.parameters())

        items = self.task.items[next(blocks(len(self.task.items)))]
        sizes = batches.shapes(self.task.examples, Ragged.even(items), self.layout)
        alone = self.task.statistic is None
        self.session.make_room(run, sizes, reserved=reserved, alone=alone)
        # Evaluations take less.
        self.session.meter = None

    def leave(self, index: np.ndarray) -> np.ndarray:
        """Leave the gradient of the loss over the items `index` in the parameters.

        Returns:
            This process's share of the loss, the sum over its items over the weights of all, then
            its `step_sums`.

        Raises:
            InputError: there is not memory enough for a single item.
        """
        session, several = self.session, self.session.accelerator.num_processes > 1
        sharded = processes.sharded(session.accelerator)
        while True:
            parts, largest, single = self._micro_batches(index, self.task.examples)
            apart = None
            if self.task.apart is not None:
                # What a statistic is had of may be longer, or shorter.
                apart, _, alike = self._micro_batches(index, self.task.apart)
                single = single and alike
            # What was not tried yet is tried by each process for itself.
            trial = several and largest > self._proved and not sharded
            failed = alone = False
            try:
                statistics = self._statistics(index, parts, apart)
                alone = trial
                found = self._accumulate(index, parts, statistics, alone=alone)
            except RuntimeError as error:
                session.require_out_of_memory(error, alone=alone)
                failed = True
            if trial:
                failed = session.anywhere(failed)
            if failed:
                cpu.clear(self.model.parameters())
                session.halve(largest, single=single)
                continue
            if trial:
                self._proved = largest
                processes.average(self.model.parameters())
            return found

    def _micro_batches(
        self, index: np.ndarray, examples: Examples
    ) -> tuple[list[np.ndarray], int, bool]:
        """This process's micro-batches of the step that visits the items `index`.

        All processes get equally many, since with sharded weights each pass needs all of them:
        what one has less than another, it gets empty.

        Returns:
            These, the positions of the largest of all processes, and whether none of any holds
            more than one item.
        """
        accelerator, tokens = self.session.accelerator, self.session.tokens_per_batch
        sizes = batches.shapes(examples, Ragged.even(self.task.items[index]), self.layout)
        least = batches.least(accelerator.device)

        def cut(share: np.ndarray) -> list[np.ndarray]:
            groups = batches.micro_batches(sizes[share], tokens, self.layout, least)
            return [share[group] for group in groups]

        parts = [cut(share) for share in processes.deal(sizes[:, 1], accelerator.num_processes)]
        own = parts[accelerator.process_index]
        whole = [part for of_process in parts for part in of_process]
        largest = max(int(sizes[part, 1].sum()) for part in whole)
        single = max(map(len, whole)) == 1
        empty = [index[:0]] * (max(map(len, parts)) - len(own))
        return [index[part] for part in own] + empty, largest, single

    def _accumulate(
        self,
        index: np.ndarray,
        parts: list[np.ndarray],
        statistics: list[Tensor | None],
        *,
        alone: bool,
    ) -> np.ndarray:
        """Add the gradients of the parts up.

        Args:
            alone: leave each process with those of its own parts.
        """
        accelerator, task = self.session.accelerator, self.task
        together = processes.sharded(accelerator)
        weight = task.weights(index).sum()
        loss, sums = 0.0, NO_SUMS
        for number, (visited, batch) in enumerate(self._batches(task.examples, index, parts)):
            last = number == len(parts) - 1
            # Gradients are averaged over the processes once, with the last part. Where weights are
            # sharded, each part's are: whole ones would stay in each process until then.
            at_once = together or (last and not alone)
            with nullcontext() if at_once else accelerator.no_sync(self.model):
                # The library wraps it around models but those that are sharded.
                with accelerator.autocast():
                    logps: Tensor = self.model(batch)
                share = task.loss(logps, batch.counts, visited, statistics[number]).sum() / weight
                share = share * bool(len(parts[number]))
                accelerator.backward(share * accelerator.num_processes)
            loss += share.item()
            if task.tally and len(parts[number]):
                sums = sums + task.tally(logps.detach(), batch.counts, visited)
        return np.array([loss, *sums])

    def _batches(
        self, examples: Examples, index: np.ndarray, parts: list[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """The micro-batches, laid out; an empty one takes part with any item, and adds nothing."""
        for part in parts:
            visited = part if len(part) else index[:1]
            batch = batches.make(examples, self.task.items[visited], self.layout)
            yield visited, batch.to(self.session.accelerator.device)

    @torch.no_grad()
    def _statistics(
        self, index: np.ndarray, parts: list[np.ndarray], apart: list[np.ndarray] | None = None
    ) -> list[Tensor | None]:
        """What the objective needs of the whole step, for each part; the same in each process.

        Args:
            apart: the micro-batches of `task.apart`, where it has it of these.
        """
        if self.task.statistic is None:
            return [None] * len(parts)
        places = np.arange(index.size * self.task.items.shape[1]).reshape(len(index), -1)
        place_of = dict(zip(index, places, strict=True))
        logps = np.zeros((2, places.size))
        examples, scored = self.task.apart or self.task.examples, apart or parts
        made = self._batches(examples, index, scored)
        for part, (visited, batch) in zip(scored, made, strict=True):
            with self.session.accelerator.autocast():
                found = self.model(batch)
            both = torch.stack([found.double(), batch.counts.double()])
            if len(part):
                logps[:, np.concatenate([place_of[i] for i in visited])] = both.cpu().numpy()
        device = self.session.accelerator.device
        sums, counts = torch.from_numpy(processes.total(self.session.accelerator, logps))
        found = self.task.statistic(sums.float().to(device), counts.to(device), index)
        if not found.dim():
            return [found] * len(parts)
        # One for each item: an empty part takes part with the first.
        rows = {item: row for row, item in enumerate(index)}
        return [found[[rows[i] for i in (part if len(part) else index[:1])]] for part in parts]
