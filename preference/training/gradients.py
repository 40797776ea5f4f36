"""The gradient of one step's loss, accumulated over micro-batches that fit into memory."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from preference.model import batches, cpu
from preference.model.batches import Batch, Layout
from preference.objectives.objective import Task
from preference.objectives.steps import SUMS
from preference.runtime import processes
from preference.runtime.session import Session
from preference.store.examples import Examples, Ragged
from preference.store.index import blocks


class Part(NamedTuple):
    """A micro-batch of one process.

    Attributes:
        items: empty where this process has none while others still do.
        visited: the same; in place of none it is any, which takes part and adds nothing.
        batch: what is visited, laid out.
    """

    items: np.ndarray
    visited: np.ndarray
    batch: Batch


class Step(NamedTuple):
    """A step, cut and laid out.

    Attributes:
        items: those of all processes.
        parts: this process's, as many as any other has.
        apart: those that the statistic is had of, where these are others.
        largest: positions of the largest micro-batch of all processes.
        single: whether none of any holds more than one item.
        cut_by: `tokens_per_batch` at that time.
    """

    items: np.ndarray
    parts: list[Part]
    apart: list[Part] | None = None
    largest: int = 0
    single: bool = False
    cut_by: int = 0


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
            step = Step(index, [self._part(self.task.examples, index, index)])
            try:
                self._accumulate(step, self._statistics(step), alone=True)
            finally:
                cpu.clear(self.model.parameters())

        items = self.task.items[next(blocks(len(self.task.items)))]
        sizes = batches.shapes(self.task.examples, Ragged.even(items), self.layout)
        alone = self.task.statistic is None
        self.session.make_room(run, sizes, reserved=reserved, alone=alone)
        # Evaluations take less.
        self.session.meter = None

    def make(self, index: np.ndarray) -> Step:
        """The step over the items `index`, on the host; nothing is changed, so a thread may."""
        tokens = self.session.tokens_per_batch
        parts, largest, single = self._cut(self.task.examples, index, tokens)
        apart = None
        if self.task.apart is not None:
            # What a statistic is had of may be longer, or shorter.
            apart, _, alike = self._cut(self.task.apart, index, tokens)
            single = single and alike
        return Step(index, parts, apart, largest, single, tokens)

    def leave(self, step: Step) -> Tensor:
        """Leave the gradient of a step's loss in the parameters.

        Returns:
            This process's share of the loss, the sum over its items over the weights of all, then
            its `step_sums`: (9,), float64, on a GPU not waited for.

        Raises:
            InputError: there is not memory enough for a single item.
        """
        session, several = self.session, self.session.accelerator.num_processes > 1
        sharded = processes.sharded(session.accelerator)
        while True:
            if step.cut_by != session.tokens_per_batch:
                step = self.make(step.items)
            # What was not tried yet is tried by each process for itself.
            trial = several and step.largest > self._proved and not sharded
            failed = alone = False
            try:
                statistics = self._statistics(step)
                alone = trial
                found = self._accumulate(step, statistics, alone=alone)
            except RuntimeError as error:
                session.require_out_of_memory(error, alone=alone)
                failed = True
            if trial:
                failed = session.anywhere(failed)
            if failed:
                cpu.clear(self.model.parameters())
                session.halve(step.largest, single=step.single)
                continue
            if trial:
                self._proved = step.largest
                processes.average(self.model.parameters())
            return found

    def _cut(
        self, examples: Examples, index: np.ndarray, tokens: int
    ) -> tuple[list[Part], int, bool]:
        """This process's micro-batches of the step that visits the items `index`.

        All processes get equally many, since with sharded weights each pass needs all of them:
        what one has less than another, it gets empty.

        Returns:
            These, the positions of the largest of all processes, and whether none of any holds
            more than one item.
        """
        accelerator = self.session.accelerator
        sizes = batches.shapes(examples, Ragged.even(self.task.items[index]), self.layout)
        least = batches.least(accelerator.device)

        def cut(share: np.ndarray) -> list[np.ndarray]:
            groups = batches.micro_batches(sizes[share], tokens, self.layout, least)
            return [share[group] for group in groups]

        parts = [cut(share) for share in processes.deal(sizes[:, 1], accelerator.num_processes)]
        own = parts[accelerator.process_index]
        own += [index[:0]] * (max(map(len, parts)) - len(own))
        whole = [part for of_process in parts for part in of_process if len(part)]
        largest = max(int(sizes[part, 1].sum()) for part in whole)
        single = max(map(len, whole)) == 1
        return [self._part(examples, index[own_part], index) for own_part in own], largest, single

    def _part(self, examples: Examples, items: np.ndarray, index: np.ndarray) -> Part:
        visited = items if len(items) else index[:1]
        batch = batches.make(examples, self.task.items[visited], self.layout)
        return Part(items, visited, batch.ready_for(self.session.accelerator.device))

    def _accumulate(self, step: Step, statistics: list[Tensor | None], *, alone: bool) -> Tensor:
        """Add the gradients of the parts up.

        Args:
            alone: leave each process with those of its own parts.
        """
        accelerator, task, parts = self.session.accelerator, self.task, step.parts
        together, home = processes.sharded(accelerator), processes.home(accelerator)
        weight = task.weights(step.items).sum()
        found = torch.zeros(1 + SUMS, dtype=torch.float64, device=home)
        for number, part in enumerate(parts):
            batch, visited = part.batch.to(accelerator.device), part.visited
            last = number == len(parts) - 1
            # Gradients are averaged over the processes once, with the last part. Where weights are
            # sharded, each part's are: whole ones would stay in each process until then.
            at_once = together or (last and not alone)
            with nullcontext() if at_once else accelerator.no_sync(self.model):
                # The library wraps it around models but those that are sharded.
                with accelerator.autocast():
                    logps: Tensor = self.model(batch)
                share = task.loss(logps, batch.counts, visited, statistics[number]).sum() / weight
                share = share * bool(len(part.items))
                accelerator.backward(share * accelerator.num_processes)
            found[0] += share.detach().to(home)
            if task.tally and len(part.items):
                found[1:] += task.tally(logps.detach().to(home), batch.counts.to(home), visited)
        return found

    @torch.no_grad()
    def _statistics(self, step: Step) -> list[Tensor | None]:
        """What the objective needs of the whole step, for each part; the same in each process."""
        if self.task.statistic is None:
            return [None] * len(step.parts)
        index, accelerator = step.items, self.session.accelerator
        places = np.arange(index.size * self.task.items.shape[1]).reshape(len(index), -1)
        place_of = dict(zip(index, places, strict=True))
        logps = np.zeros((2, places.size))
        for items, _, batch in step.apart or step.parts:
            with accelerator.autocast():
                found = self.model(batch.to(accelerator.device)).cpu()
            both = torch.stack([found.double(), batch.counts.double()])
            if len(items):
                logps[:, np.concatenate([place_of[i] for i in items])] = both.numpy()
        sums, counts = torch.from_numpy(processes.total(accelerator, logps))
        device = accelerator.device
        found = self.task.statistic(sums.float().to(device), counts.to(device), index)
        if not found.dim():
            return [found] * len(step.parts)
        # One for each item.
        rows = {item: row for row, item in enumerate(index)}
        return [found[[rows[item] for item in part.visited]] for part in step.parts]
