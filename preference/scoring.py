"""A saved model, opened for work and run over all pairs of a split."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from preference import batches, devices, models
from preference.errors import InputError
from preference.logprobs import ResponseLogps, probe
from preference.progress import bar
from preference.tables import Pairs, Scores


def open_model(directory: Path, longest: int, accelerator: Accelerator) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it.

    Args:
        longest: tokens of the longest sequence that it will see.
    """
    model = models.load(directory).to(accelerator.device)
    models.check_length(model, longest)
    return ResponseLogps(model, probe(model, longest))


@torch.no_grad()
def score(
    scorer: ResponseLogps,
    pairs: Pairs,
    accelerator: Accelerator,
    tokens_per_batch: int,
    description: str,
) -> Scores:
    """Score both responses of every pair, without dropout.

    Args:
        tokens_per_batch: positions in a micro-batch; changes speed and memory only.
        description: what the progress bar says.

    Raises:
        InputError: the model lacks some of the token ids, or its output is not finite.
    """
    known = scorer.model.get_input_embeddings().num_embeddings
    if pairs.largest_id >= known:
        raise InputError(
            f"{description}: the pairs hold token ids up to {pairs.largest_id}, the model knows "
            f"{known}; it goes with another tokenizer than the one that they were prepared with"
        )
    layout = scorer.abilities.layout
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    sums = np.zeros((len(pairs), 2))
    counts = np.zeros((len(pairs), 2), dtype=np.int32)
    training = scorer.training
    scorer.eval()
    groups = batches.micro_batches(batches.shapes(pairs, items, layout), tokens_per_batch, layout)
    with bar(description, len(pairs), "pairs") as progress:
        for group in groups:
            batch = batches.make(pairs, [items[i] for i in group], layout)
            with accelerator.autocast():
                found = scorer(batch.to(accelerator.device))
            sums[group] = found.cpu().double().numpy().reshape(-1, 2)
            counts[group] = batch.counts.numpy().reshape(-1, 2)
            progress.update(len(group))
    scorer.train(training)
    context = devices.context(accelerator)
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(bad):
        raise InputError(
            f"{description}: {len(bad)} pairs have no finite log-probability, the first is row "
            f"{pairs.rows[bad[0]]}; the model is broken, or the precision too small: use fp32, bf16"
        )
    return Scores(pairs.rows, sums[:, 0], counts[:, 0], sums[:, 1], counts[:, 1], context)
