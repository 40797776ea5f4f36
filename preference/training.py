"""The one training loop."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import get_linear_schedule_with_warmup

from preference import accumulation, distribution, stopping
from preference.checkpoints import CURVES, Checkpoints, Position
from preference.curves import Curves
from preference.errors import InputError
from preference.gradients import Gradients
from preference.logprobs import ResponseLogps
from preference.metrics import Metrics
from preference.objectives import Objective
from preference.params import Optimization
from preference.progress import bar
from preference.tables import Pairs


def fit(
    scorer: ResponseLogps,
    objective: Objective,
    pairs: Pairs,
    settings: Optimization,
    accelerator: Accelerator,
    *,
    seed: int,
    tokens_per_batch: int,
    evaluate: Callable[[nn.Module], Metrics],
    save: Callable[[nn.Module], None] = lambda model: None,
    curves: Path,
    description: str,
    start: Metrics | None = None,
    checkpoints: Checkpoints,
    tensorboard: bool = False,
) -> None:
    """Train the model behind `scorer`, in place.

    AdamW with weight decay on every parameter, linear warm-up over int(warmup_ratio x steps),
    then linear decay to 0, gradients clipped by their global norm. Each epoch visits all
    items in an order drawn from `seed`; its last step takes what is left. How a step is cut
    into micro-batches, and dealt to processes, changes neither its loss nor its gradient.

    Args:
        evaluate: test metrics of the model as it stands, called after every epoch. It gets the
            model as it is distributed, around `scorer` or `scorer` itself, and so does `save`.
        save: called at the end, before the curves take the place of earlier ones: they never
            stand beside a model that is not theirs because this one could not be written.
        curves: directory for the curves by step and the test metrics by epoch.
        start: test metrics before training; where they are not known, they are evaluated.
        checkpoints: where the state is kept, and found again by a run that was interrupted.
        tensorboard: write the curves for TensorBoard, too.

    Raises:
        InputError: the loss or the gradient is not finite; the message names the step and the rows.
        stopping.Stopped: a signal asked for it; the state is kept.
    """
    items = len(objective.items)
    step_size = settings.step_size // objective.examples
    steps = settings.epochs * math.ceil(items / step_size)
    optimizer = torch.optim.AdamW(
        scorer.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        # One pass over the parameters. Under fp16's scaler it would hide which steps were skipped.
        fused=accelerator.scaler is None,
    )
    schedule = get_linear_schedule_with_warmup(
        optimizer, int(settings.warmup_ratio * steps), max(1, steps)
    )
    layout = scorer.abilities.layout
    if accelerator.num_processes == 1 and accelerator.device.type == "cpu":
        accumulation.prepare(scorer.model)
    model, optimizer = accelerator.prepare(scorer, optimizer)
    torch.manual_seed(seed + accelerator.process_index)
    gradients = Gradients(model, objective, pairs, layout, accelerator, tokens_per_batch)
    found, position = checkpoints.latest() or (None, Position())
    if found is not None:
        checkpoints.restore(found, schedule)
    saved = position if found is not None else None
    visited = position.epoch * items + min(position.done * step_size, items)
    with (
        Curves(
            curves,
            writes=accelerator.is_main_process,
            start=found and found / CURVES,
            step=position.step,
            tensorboard=tensorboard,
        ) as record,
        bar(description, settings.epochs * items, objective.unit, visited) as progress,
    ):
        if found is None:
            record.add_epoch(0, evaluate(model) if start is None else start)
        for epoch in range(position.epoch, settings.epochs):
            model.train(_dropout(settings, epoch))
            # A step is whole or was not: a signal waits for the end of one, and for a checkpoint.
            with stopping.held() as request:
                for index in islice(_steps(items, step_size, seed, epoch), position.done, None):
                    share = gradients.leave(index)
                    asked = request.number is not None
                    loss, due, stop = distribution.total(
                        accelerator, np.array([share, checkpoints.due() or asked, asked])
                    )
                    norm = float(
                        accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
                    )
                    # In fp16 the scaler skips steps whose gradients overflow, and scales less.
                    if not math.isfinite(loss) or not (math.isfinite(norm) or accelerator.scaler):
                        rows = [int(pairs.rows[objective.items[i].pair]) for i in index]
                        raise InputError(
                            f"{description}: the loss is {loss}, the gradient's norm {norm} at "
                            f"step {record.step + 1} (rows {rows} of the training data); lower the "
                            f"learning rate, or use fp32 or bf16{checkpoints.kept()}"
                        )
                    rate = schedule.get_last_lr()[0]
                    optimizer.step()
                    accumulation.clear(model.parameters())
                    if not accelerator.optimizer_step_was_skipped:
                        schedule.step()
                    record.add_step(loss=loss, learning_rate=rate, grad_norm=norm)
                    position = Position(epoch, position.done + 1, record.step)
                    if due:
                        checkpoints.save(position, schedule, record.place)
                        saved = position
                    progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
                    progress.update(len(index))
                    if stop:
                        break
                # Before the evaluation, which may take long.
                if position != saved:
                    checkpoints.save(position, schedule, record.place)
                distribution.stop_if_asked(accelerator, request)
            record.add_epoch(epoch + 1, evaluate(model))
            position = Position(epoch + 1, 0, record.step)
        save(model)


def _steps(items: int, step_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The items of each step of one epoch; the last step may be smaller."""
    order = np.random.default_rng([seed, *b"order", epoch]).permutation(items)
    for start in range(0, items, step_size):
        yield order[start : start + step_size]


def _dropout(settings: Optimization, epoch: int) -> bool:
    return epoch == 0 if settings.dropout == "first-epoch" else settings.dropout
