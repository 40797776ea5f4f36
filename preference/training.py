"""The one training loop."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import get_linear_schedule_with_warmup

from preference import batches
from preference.curves import Curves
from preference.errors import InputError
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
    evaluate: Callable[[], Metrics],
    curves: Path,
    description: str,
    start: Metrics | None = None,
) -> None:
    """Train the model behind `scorer`, in place.

    AdamW with weight decay on every parameter, linear warm-up over int(warmup_ratio x steps),
    then linear decay to 0, gradients clipped by their global norm. Each epoch visits all
    examples in an order drawn from `seed`; its last step takes what is left. How a step is cut
    into micro-batches changes neither its loss nor its gradient.

    Args:
        evaluate: test metrics of the model as it stands, called after every epoch.
        curves: directory for the curves by step and the test metrics by epoch.
        start: test metrics before training, where they are known.

    Raises:
        InputError: the loss or the gradient is not finite; the message names the step and the rows.
    """
    layout = scorer.abilities.layout
    examples = len(objective.items)
    steps = settings.epochs * math.ceil(examples / settings.step_size)
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
    model, optimizer = accelerator.prepare(scorer, optimizer)
    sizes = batches.shapes(pairs, objective.items, layout)
    torch.manual_seed(seed)
    with (
        Curves(curves) as record,
        bar(description, settings.epochs * examples, objective.unit) as progress,
    ):
        if start is not None:
            record.add_epoch(0, start)
        for epoch in range(settings.epochs):
            model.train(_dropout(settings, epoch))
            for index in _steps(examples, settings.step_size, seed, epoch):
                loss = 0.0
                for group in batches.micro_batches(sizes[index], tokens_per_batch, layout):
                    part = index[group]
                    batch = batches.make(pairs, [objective.items[i] for i in part], layout)
                    batch = batch.to(accelerator.device)
                    losses = objective.loss(model(batch), batch.counts, part)
                    share = losses.sum() / objective.weights[index].sum()
                    accelerator.backward(share)
                    loss += share.item()
                norm = float(
                    accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
                )
                # In fp16 the scaler skips steps whose gradients overflow, and scales less.
                if not math.isfinite(loss) or not (math.isfinite(norm) or accelerator.scaler):
                    rows = [int(pairs.rows[objective.items[i].pair]) for i in index]
                    raise InputError(
                        f"{description}: the loss is {loss}, the gradient's norm {norm} at step "
                        f"{record.step + 1} (rows {rows} of the training data); lower the learning "
                        "rate, or use fp32 or bf16"
                    )
                rate = schedule.get_last_lr()[0]
                optimizer.step()
                optimizer.zero_grad()
                if not accelerator.optimizer_step_was_skipped:
                    schedule.step()
                record.add_step(loss=loss, learning_rate=rate, grad_norm=norm)
                progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
                progress.update(len(index))
            record.add_epoch(epoch + 1, evaluate())


def _steps(examples: int, step_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The examples of each step of one epoch; the last step may be smaller."""
    order = np.random.default_rng([seed, *b"order", epoch]).permutation(examples)
    for start in range(0, examples, step_size):
        yield order[start : start + step_size]


def _dropout(settings: Optimization, epoch: int) -> bool:
    return epoch == 0 if settings.dropout == "first-epoch" else settings.dropout
