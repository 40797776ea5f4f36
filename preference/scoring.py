"""All pairs of a split through one model."""

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from preference import batches
from preference.progress import bar
from preference.tables import Pairs, Scores


@torch.no_grad()
def score(
    logps: nn.Module,
    pairs: Pairs,
    accelerator: Accelerator,
    *,
    share_prompts: bool,
    tokens_per_batch: int,
    description: str,
) -> Scores:
    """Score both responses of every pair, without dropout.

    Args:
        logps: a `ResponseLogps`, on the accelerator's device.
        share_prompts: whether pairs may be laid out as one sequence.
        tokens_per_batch: positions in a micro-batch; changes speed and memory only.
        description: what the progress bar says.
    """
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    sums = np.zeros((len(pairs), 2))
    counts = np.zeros((len(pairs), 2), dtype=np.int32)
    training = logps.training
    logps.eval()
    groups = batches.micro_batches(batches.shapes(pairs, items, share_prompts), tokens_per_batch)
    with bar(description, len(pairs), "pairs") as progress:
        for group in groups:
            batch = batches.make(pairs, [items[i] for i in group], share_prompts)
            with accelerator.autocast():
                found = logps(batch.to(accelerator.device))
            sums[group] = found.double().cpu().numpy().reshape(-1, 2)
            counts[group] = batch.counts.numpy().reshape(-1, 2)
            progress.update(len(group))
    logps.train(training)
    return Scores(pairs.rows, sums[:, 0], counts[:, 0], sums[:, 1], counts[:, 1])
