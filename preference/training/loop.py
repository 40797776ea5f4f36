"""The one training loop."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from preference.core.errors import InputError
from preference.core.optimization import Optimization
from preference.core.progress import bar
from preference.model import cpu, lora, probe
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps
from preference.objectives.objective import Task, step_metrics
from preference.runtime import processes
from preference.runtime.checkpoints import Position
from preference.runtime.session import Session
from preference.store.index import shuffled
from preference.store.scores import Metrics
from preference.training import optimizers
from preference.training.curves import Curves
from preference.training.gradients import Gradients


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
    update = _Update(scorer, task, settings, session, plan.steps)
    gradients = _gradients(update, task, scorer.abilities.layout, settings, session)
    found, position = session.checkpoints.resume(update.schedule)
    saved = position if found else None
    visited, in_all = plan.visited(position.step), plan.visited(plan.steps)
    with (
        Curves(curves, session, found, position.step) as record,
        bar(curves.name, in_all, task.unit, visited) as progress,
    ):
        if not found:
            record.add_epoch(0, evaluate(update.model) if start is None else start)
        for epoch in range(position.epoch, math.ceil(plan.epochs)):
            _set_dropout(update.model, settings, epoch)
            # A step is whole or was not: a signal waits for the end of one, and for a checkpoint.
            with session.held():
                steps = _steps(plan.items, plan.step_size, session.params.seed, epoch)
                for index in islice(steps, position.done, plan.steps - epoch * plan.by_epoch):
                    (loss, *sums), due, stop = session.agree(*gradients.leave(index))
                    record.add_step(update.step(loss, index) | step_metrics(sums))
                    position = Position(epoch, position.done + 1, record.step)
                    if due:
                        saved = session.checkpoints.save(position, update.schedule, record.place)
                    progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
                    progress.update(len(index))
                    if stop:
                        break
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

    def visited(self, steps: int) -> int:
        """Items that so many steps have visited."""
        epochs, rest = divmod(steps, self.by_epoch)
        return epochs * self.items + min(rest * self.step_size, self.items)


class _Update:
    """AdamW and its schedule, with the model as it is distributed; clips the gradients' norm.

    Args:
        steps: of the whole training.
    """

    def __init__(
        self,
        scorer: ResponseLogps,
        task: Task,
        settings: Optimization,
        session: Session,
        steps: int,
    ) -> None:
        self._session, self._task, self._clip = session, task, settings.max_grad_norm
        accelerator = session.accelerator
        # Under fp16's scaler a fused optimizer would hide skipped steps.
        optimizer = optimizers.make(scorer, settings, fused=accelerator.scaler is None)
        self.schedule = optimizers.schedule(optimizer, settings, steps)
        cpu.accumulate_in_place(scorer.model, accelerator)
        self.model: nn.Module
        self.model, self._optimizer = accelerator.prepare(scorer, optimizer)
        torch.manual_seed(session.params.seed + accelerator.process_index)

    @property
    def moments(self) -> int:
        """Bytes that the optimizer is going to keep in this process: two values a weight."""
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        return 2 * sum(processes.own(weight).nbytes for weight in trained)

    def step(self, loss: float, index: np.ndarray) -> Metrics:
        """Take one step down the gradients that are there; what there is to log of it.

        Args:
            loss: of the step.
            index: the items that it is over.
        """
        accelerator, session = self._session.accelerator, self._session
        norm = float(accelerator.clip_grad_norm_(self.model.parameters(), self._clip))
        # In fp16 the scaler skips steps whose gradients overflow, and scales less.
        if not math.isfinite(loss) or not (math.isfinite(norm) or accelerator.scaler):
            raise InputError(
                f"{session.stage}: the loss is {loss}, the gradient's norm {norm} at step "
                f"{self.schedule.last_epoch + 1} (rows {self._task.rows(index)} of the training "
                "data); lower the learning rate, or use fp32 or bf16" + session.checkpoints.kept()
            )
        rate = float(self.schedule.get_last_lr()[0])
        self._optimizer.step()
        cpu.clear(self.model.parameters())
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        return {"loss": loss, "learning_rate": rate, "grad_norm": norm}


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
    update: _Update, task: Task, layout: Layout, settings: Optimization, session: Session
) -> Gradients:
    """Those of a training, with room made for its micro-batches.

    To be called before the state of random numbers comes back, since dropout takes some.
    """
    made = Gradients(update.model, task, layout, session)
    _set_dropout(update.model, settings, epoch=0)
    made.make_room(update.moments)
    return made


def _set_dropout(model: nn.Module, settings: Optimization, epoch: int) -> None:
    model.train(epoch == 0 if settings.dropout == "first-epoch" else settings.dropout)
    lora.drop_out(model)
