"""A saved model, opened for work and run over all pairs of a split."""

import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn

from preference import batches, checksums, devices, distribution, models, stopping
from preference.checkpoints import Checkpoints
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
    checksums.require_undamaged(directory)
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
    checkpoints: Checkpoints | None = None,
) -> Scores:
    """Score both responses of every pair, without dropout; each process gets all scores.

    Args:
        model: a `ResponseLogps`, or what `accelerator` has made of one.
        tokens_per_batch: positions in a micro-batch; changes speed and memory only, and is halved
            where memory runs out.
        description: what the progress bar says.
        checkpoints: where what is scored is kept, and found again by a run that was interrupted.

    Raises:
        InputError: the model lacks some of the token ids, its output is not finite, or memory
            does not suffice for one pair.
        stopping.Stopped: a signal asked for it; what is scored is kept.
    """
    scorer: ResponseLogps = accelerator.unwrap_model(model)
    _require_known_tokens(scorer, pairs, description)
    layout = scorer.abilities.layout
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    groups = batches.micro_batches(batches.shapes(pairs, items, layout), tokens_per_batch, layout)
    rank, processes = accelerator.process_index, accelerator.num_processes
    name = description.replace(": ", "-")
    sums, counts = _begun(name, groups, len(pairs), checkpoints, accelerator)
    training = model.training
    model.eval()

    def keep() -> None:
        if checkpoints:
            both = distribution.total(accelerator, np.stack([sums, counts]))
            checkpoints.save_array(name, int((both[1] > 0).all(axis=1).sum()), both)

    with (
        bar(description, len(pairs), "pairs", len(pairs) - sum(map(len, groups))) as progress,
        # A signal waits until what is scored is kept.
        stopping.held() as request,
    ):
        kept = len(groups)
        while True:
            due = bool(checkpoints and checkpoints.due()) or request.number is not None
            wanted = distribution.total(accelerator, np.array([float(due)])).any()
            if wanted and len(groups) != kept:
                keep()
                kept = len(groups)
            distribution.stop_if_asked(accelerator, request)
            if not groups:
                break
            # Each process takes its own; where the last round has fewer, some come along idle.
            turn, groups = groups[:processes], groups[processes:]
            group = turn[rank if rank < len(turn) else 0]
            try:
                batch = batches.make(pairs, [items[i] for i in group], layout)
                with accelerator.autocast():
                    found = model(batch.to(accelerator.device))
            except RuntimeError as error:
                if processes > 1 or not should_reduce_batch_size(error):
                    raise
                groups = _halved(group) + groups
                clear_device_cache(garbage_collection=True)
                continue
            if rank < len(turn):
                sums[group] = found.cpu().double().numpy().reshape(-1, 2)
                counts[group] = batch.counts.numpy().reshape(-1, 2)
            progress.update(sum(map(len, turn)))
    model.train(training)
    sums, counts = distribution.total(accelerator, np.stack([sums, counts]))
    context = {
        **devices.context(accelerator),
        **devices.versions(),
        "data": pairs.source or "unknown",
        "base_model": getattr(scorer.model.config, models.BASE, "unknown"),
    }
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(bad):
        raise InputError(
            f"{description}: {len(bad)} pairs have no finite log-probability, the first is row "
            f"{pairs.rows[bad[0]]}; the model is broken, or the precision too small: use fp32, bf16"
        )
    tokens = counts.astype(np.int32)
    return Scores(pairs.rows, sums[:, 0], tokens[:, 0], sums[:, 1], tokens[:, 1], context)


def _require_known_tokens(scorer: ResponseLogps, pairs: Pairs, description: str) -> None:
    known = scorer.model.get_input_embeddings().num_embeddings
    if pairs.largest_id >= known:
        raise InputError(
            f"{description}: the pairs hold token ids up to {pairs.largest_id}, the model knows "
            f"{known}; it goes with another tokenizer than the one that they were prepared with"
        )


def _begun(
    name: str,
    groups: list[np.ndarray],
    pairs: int,
    checkpoints: Checkpoints | None,
    accelerator: Accelerator,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts, (pairs, 2) each, of what an interrupted run has scored; drops its groups.

    Only the main process holds them, so that they count once.
    """
    kept = checkpoints.array(name) if checkpoints else None
    sums, counts = np.zeros((2, pairs, 2)) if kept is None else kept
    groups[:] = [group for group in groups if (counts[group] == 0).any()]
    if kept is not None:
        logging.info("%s: goes on after %d pairs", name, pairs - sum(map(len, groups)))
        # A group of which a part was scored is scored again, perhaps by another process.
        for group in groups:
            sums[group] = counts[group] = 0
    if not accelerator.is_main_process:
        sums[:] = counts[:] = 0
    return sums, counts


def _halved(group: np.ndarray) -> list[np.ndarray]:
    """A micro-batch for which memory did not suffice, as smaller ones."""
    if len(group) == 1:
        raise InputError(
            "out of memory with one pair at a time; lower data.max_length, or take a machine with "
            "more memory"
        )
    logging.warning("out of memory: %d pairs are scored in two parts", len(group))
    return [group[: len(group) // 2], group[len(group) // 2 :]]
