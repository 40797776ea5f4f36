"""The one training loop."""

import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from preference.core.errors import InputError
from preference.core.optimization import Optimization
from preference.core.progress import bar
from preference.model import lora, probe
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps
from preference.objectives.objective import Task
from preference.runtime import processes
from preference.runtime.ahead import made_ahead
from preference.runtime.checkpoints import Position
from preference.runtime.session import Session
from preference.store.index import shuffled
from preference.store.scores import Metrics
from preference.training.curves import Curves
from preference.training.gradients import Gradients, Step
from preference.training.update import Taken, Update


def fit(
    scorer: ResponseLogps,
    task: Task,
    settings: Optimization,
    session: Session,
    *,
    curves: Path,
    evaluate: Callable[[nn.Module], Metrics],
    save: Callable[[nn.Module], None] = lambda model: None,
    start: Metrics | None = None,
) -> None:
    """Train the model behind `scorer`, in place.

    Args:
        curves: directory for the curves by step and the test metrics by epoch.
        evaluate: test metrics of the model, as it is distributed, after every epoch, whole or not.
        save: called at the end, before the curves take the place of earlier ones: they never
            stand beside a model that is not theirs because this one could not be written.
        start: test metrics before training; where they are not known, they are evaluated.

    Raises:
        InputError: the loss or the gradient is not finite; the message names the step and the rows.
            Or the scorer's shortcuts turn out to change this model's numbers.
        signals.Stopped: a signal asked for it; the state is kept.
    """
    plan = _Plan.of(task, settings, session.stage)
    update = Update(scorer, task, settings, session, plan.steps)
    gradients = _gradients(update, task, scorer.abilities.layout, settings, session)
    found, position = session.checkpoints.resume(update.schedule)
    saved = position if found else None
    visited, in_all = plan.visited(position.step), plan.visited(plan.steps)
    with (
        Curves(curves, session, found, position.step) as record,
        bar(curves.name, in_all, task.unit, visited) as progress,
    ):
        told = _Told(update, record, progress)
        if not found:
            record.add_epoch(0, evaluate(update.model) if start is None else start)
        for epoch in range(position.epoch, math.ceil(plan.epochs)):
            _set_dropout(update.model, settings, epoch)
            steps = plan.of_epoch(epoch, position.done, session.params.seed)
            # A step is whole or was not: a signal waits for the end of one, and for a checkpoint.
            with session.held(), closing(_made(gradients, steps, session)) as made:
                for step in made:
                    taken = update.step(gradients.leave(step), step.items)
                    due, stop = told.tell(taken, behind=session.overlap)
                    position = Position(epoch, position.done + 1, position.step + 1)
                    if due:
                        saved = session.checkpoints.save(position, update.schedule, record.place)
                    if stop:
                        break
                told.tell()
                # Before the evaluation, which may take long.
                if position != saved:
                    session.checkpoints.save(position, update.schedule, record.place)
                session.stop_if_asked()
            _require_exact(update.model, scorer, task, session)
            record.add_epoch(min(epoch + 1, plan.epochs), evaluate(update.model))
            position = Position(epoch + 1, 0, record.step)
        save(update.model)


@dataclass(frozen=True)
class _Plan:
    """The steps of a training: those of all epochs, or the first `max_steps` of them.

    Attributes:
        items: of an epoch.
        by_epoch: steps of a whole one.
        steps: in all.
    """

    items: int
    step_size: int
    by_epoch: int
    steps: int

    @classmethod
    def of(cls, task: Task, settings: Optimization, stage: str) -> "_Plan":
        """What params ask for; a `max_steps` beyond the epochs is warned of."""
        items, step_size = len(task.items), _step_size(task, settings)
        by_epoch = max(1, math.ceil(items / step_size))
        steps, most = settings.epochs * by_epoch, settings.max_steps
        if most and most > steps:
            logging.warning(
                "%s: max_steps asks for %d steps, and its epochs have %d; raise epochs for more",
                stage, most, steps,
            )  # fmt: skip
        return cls(items, step_size, by_epoch, min(steps, most or steps))

    @property
    def epochs(self) -> float:
        """How many there are, the last one perhaps in part."""
        return self.steps / self.by_epoch

    def of_epoch(self, epoch: int, done: int, seed: int) -> Iterator[np.ndarray]:
        """The items of each step that is left of an epoch."""
        steps = _steps(self.items, self.step_size, seed, epoch)
        return islice(steps, done, self.steps - epoch * self.by_epoch)

    def visited(self, steps: int) -> int:
        """Items that so many steps have visited."""
        epochs, rest = divmod(steps, self.by_epoch)
        return epochs * self.items + min(rest * self.step_size, self.items)


class _Told:
    """Steps that were taken, told in their order: on a GPU one behind, which need not wait then."""

    def __init__(self, update: Update, record: Curves, progress: tqdm) -> None:
        self._update, self._record, self._progress = update, record, progress
        self._untold = deque[Taken]()

    def tell(self, *taken: Taken, behind: int = 0) -> tuple[bool, bool]:
        """Tell of all but the last `behind` steps, of which one may be a bad one.

        Returns:
            Whether the state is to be kept, and whether to stop; then none is left untold, since
            only what is known to be good is kept.
        """
        self._untold.extend(taken)
        due = stop = False
        while len(self._untold) > (0 if due or stop else behind):
            first = self._untold.popleft()
            self._update.require_good(first)
            metrics = first.metrics()
            self._record.add_step(metrics)
            self._progress.set_postfix(loss=f"{metrics['loss']:.4f}", refresh=False)
            self._progress.update(len(first.items))
            due, stop = due or first.agreed.due, stop or first.agreed.stop
        return due, stop


def _require_exact(model: nn.Module, scorer: ResponseLogps, task: Task, session: Session) -> None:
    """Stop if shortcuts that were exact before training change the trained model's numbers.

    Training was with them, so the evaluation alone cannot be saved, nor can checkpoints.

    Args:
        model: the scorer, as `accelerator` has made it: sharded weights work in no other, nor
            those that are held in half precision.
    """
    accelerator, longest = session.accelerator, task.examples.longest
    whole = not (processes.sharded(accelerator) or lora.rounded(scorer))
    # Past autocast, which is wrapped around the scorer.
    run = partial(ResponseLogps.forward, scorer) if whole else model
    precision = "no" if whole else accelerator.mixed_precision
    with nullcontext() if whole else accelerator.autocast():
        found = processes.agreed(accelerator, probe.changed(scorer, run, longest, precision))
    if found:
        session.checkpoints.done()
        raise InputError(
            f"{session.stage}: the shortcuts ({scorer.abilities}) no longer give this model's own "
            f"numbers, they {found} after training; set runtime.shortcuts: false in params.yaml "
            "and start again (what was kept to go on from is removed)"
        )


def _step_size(task: Task, settings: Optimization) -> int:
    """Items of a step: `grad_accum_steps` batches, however memory makes it be cut."""
    return settings.batch_size * settings.grad_accum_steps // task.counted


def _steps(items: int, step_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The items of each step of one epoch; the last step may be smaller."""
    order = shuffled(items, seed, *b"order", epoch)
    for start in range(0, items, step_size):
        yield order[start : start + step_size]


def _gradients(
    update: Update, task: Task, layout: Layout, settings: Optimization, session: Session
) -> Gradients:
    """Those of a training, with room made for its micro-batches.

    To be called before the state of random numbers comes back, since dropout takes some.
    """
    made = Gradients(update.model, task, layout, session)
    _set_dropout(update.model, settings, epoch=0)
    made.make_room(update.moments)
    return made


def _made(
    gradients: Gradients, steps: Iterable[np.ndarray], session: Session
) -> Generator[Step, None, None]:
    """The steps, cut and laid out; on a GPU each while the one before it is computed."""
    yield from made_ahead(gradients.make, steps) if session.overlap else map(gradients.make, steps)


def _set_dropout(model: nn.Module, settings: Optimization, epoch: int) -> None:
    model.train(epoch == 0 if settings.dropout == "first-epoch" else settings.dropout)
    lora.drop_out(model)
