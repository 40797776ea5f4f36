"""The one training loop."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import get_linear_schedule_with_warmup

from preference import batches, distribution
from preference.batches import Layout
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
    evaluate: Callable[[nn.Module], Metrics],
    curves: Path,
    description: str,
    start: Metrics | None = None,
) -> nn.Module:
    """Train the model behind `scorer`, in place.

    AdamW with weight decay on every parameter, linear warm-up over int(warmup_ratio x steps),
    then linear decay to 0, gradients clipped by their global norm. Each epoch visits all
    examples in an order drawn from `seed`; its last step takes what is left. How a step is cut
    into micro-batches, and dealt to processes, changes neither its loss nor its gradient.

    Args:
        evaluate: test metrics of the model as it stands, called after every epoch.
        curves: directory for the curves by step and the test metrics by epoch.
        start: test metrics before training; where they are not known, they are evaluated.

    Returns:
        The model as it is distributed, around `scorer` or `scorer` itself.

    Raises:
        InputError: the loss or the gradient is not finite; the message names the step and the rows.
    """
    layout = scorer.abilities.layout
    examples = len(objective.items)
    steps = settings.epochs * math.ceil(examples / settings.step_size)
    sizes = batches.shapes(pairs, objective.items, layout)
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
    torch.manual_seed(seed + accelerator.process_index)
    with (
        Curves(curves, writes=accelerator.is_main_process) as record,
        bar(description, settings.epochs * examples, objective.unit) as progress,
    ):
        record.add_epoch(0, evaluate(model) if start is None else start)
        for epoch in range(settings.epochs):
            model.train(_dropout(settings, epoch))
            for index in _steps(examples, settings.step_size, seed, epoch):
                parts = _micro_batches(index, sizes, tokens_per_batch, layout, accelerator)
                loss = _accumulate(model, objective, pairs, layout, index, parts, accelerator)
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
            record.add_epoch(epoch + 1, evaluate(model))
    return model


def _micro_batches(
    index: np.ndarray,
    sizes: np.ndarray,
    tokens_per_batch: int,
    layout: Layout,
    accelerator: Accelerator,
) -> list[np.ndarray]:
    """This process's micro-batches of the step that visits the examples `index`.

    All processes get equally many, since with sharded weights each pass needs all of them: what
    one has less than another, it gets empty.
    """
    shares = [
        index[share] for share in distribution.deal(sizes[index, 1], accelerator.num_processes)
    ]
    parts = [
        [share[group] for group in batches.micro_batches(sizes[share], tokens_per_batch, layout)]
        for share in shares
    ]
    own = parts[accelerator.process_index]
    return own + [index[:0]] * (max(map(len, parts)) - len(own))


def _accumulate(
    model: nn.Module,
    objective: Objective,
    pairs: Pairs,
    layout: Layout,
    index: np.ndarray,
    parts: list[np.ndarray],
    accelerator: Accelerator,
) -> float:
    """Leave the gradient of a step's loss in the parameters; give the loss.

    The loss is the sum over all processes' parts over the weights of the whole step `index`.
    """
    weight = objective.weights[index].sum()
    loss = 0.0
    for number, part in enumerate(parts):
        # An empty part takes part in the pass with any example, and adds nothing.
        visited = part if len(part) else index[:1]
        batch = batches.make(pairs, [objective.items[i] for i in visited], layout)
        batch = batch.to(accelerator.device)
        last = number == len(parts) - 1
        # Gradients are averaged over the processes once, with the last part.
        with nullcontext() if last else accelerator.no_sync(model):
            share = objective.loss(model(batch), batch.counts, visited).sum() / weight
            share = share * bool(len(part))
            accelerator.backward(share * accelerator.num_processes)
        loss += share.item()
    return float(distribution.total(accelerator, np.array(loss)))


def _steps(examples: int, step_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The examples of each step of one epoch; the last step may be smaller."""
    order = np.random.default_rng([seed, *b"order", epoch]).permutation(examples)
    for start in range(0, examples, step_size):
        yield order[start : start + step_size]


def _dropout(settings: Optimization, epoch: int) -> bool:
    return epoch == 0 if settings.dropout == "first-epoch" else settings.dropout
