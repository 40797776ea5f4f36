"""A saved model, opened for work and run over all pairs of a split."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from preference import batches, devices, distribution, models
from preference.errors import InputError
from preference.logprobs import ResponseLogps, probe
from preference.params import Runtime
from preference.progress import bar
from preference.tables import Pairs, Scores


def open_model(
    directory: Path,
    longest: int,
    accelerator: Accelerator,
    runtime: Runtime,
    *,
    to_train: bool = False,
) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it.

    Args:
        longest: tokens of the longest sequence that it will see.
        to_train: leave it to `training.fit` to divide the weights among processes.
    """
    model = models.load(directory).to(accelerator.device)
    models.check_length(model, longest)
    if runtime.gradient_checkpointing:
        models.checkpoint_gradients(model)
    scorer = ResponseLogps(model, distribution.agreed(accelerator, probe(model, longest)))
    return scorer if to_train else distribution.divided(accelerator, scorer)


@torch.no_grad()
def score(
    model: nn.Module,
    pairs: Pairs,
    accelerator: Accelerator,
    tokens_per_batch: int,
    description: str,
) -> Scores:
    """Score both responses of every pair, without dropout; each process gets all scores.

    Args:
        model: a `ResponseLogps`, or what `accelerator` has made of one.
        tokens_per_batch: positions in a micro-batch; changes speed and memory only.
        description: what the progress bar says.

    Raises:
        InputError: the model lacks some of the token ids, or its output is not finite.
    """
    scorer: ResponseLogps = accelerator.unwrap_model(model)
    known = scorer.model.get_input_embeddings().num_embeddings
    if pairs.largest_id >= known:
        raise InputError(
            f"{description}: the pairs hold token ids up to {pairs.largest_id}, the model knows "
            f"{known}; it goes with another tokenizer than the one that they were prepared with"
        )
    layout = scorer.abilities.layout
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    sums, counts = np.zeros((2, len(pairs), 2))
    training = model.training
    model.eval()
    groups = batches.micro_batches(batches.shapes(pairs, items, layout), tokens_per_batch, layout)
    rank, processes = accelerator.process_index, accelerator.num_processes
    with bar(description, len(pairs), "pairs") as progress:
        for start in range(0, len(groups), processes):
            # Each process takes its own; where the last round has fewer, some come along idle.
            idle = start + rank >= len(groups)
            group = groups[start if idle else start + rank]
            batch = batches.make(pairs, [items[i] for i in group], layout)
            with accelerator.autocast():
                found = model(batch.to(accelerator.device))
            if not idle:
                sums[group] = found.cpu().double().numpy().reshape(-1, 2)
                counts[group] = batch.counts.numpy().reshape(-1, 2)
            progress.update(sum(map(len, groups[start : start + processes])))
    model.train(training)
    sums, counts = distribution.total(accelerator, np.stack([sums, counts]))
    context = devices.context(accelerator)
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(bad):
        raise InputError(
            f"{description}: {len(bad)} pairs have no finite log-probability, the first is row "
            f"{pairs.rows[bad[0]]}; the model is broken, or the precision too small: use fp32, bf16"
        )
    tokens = counts.astype(np.int32)
    return Scores(pairs.rows, sums[:, 0], tokens[:, 0], sums[:, 1], tokens[:, 1], context)
