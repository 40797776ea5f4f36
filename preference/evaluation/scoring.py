"""A saved model, run over all responses of a split."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from preference.core.errors import InputError
from preference.core.progress import bar
from preference.model import batches
from preference.model.batches import Batch
from preference.model.scorer import ResponseLogps, open_model
from preference.runtime import devices, processes
from preference.runtime.session import Session
from preference.store.examples import Examples, Index, Ragged
from preference.store.scores import Scores

TOGETHER = 8  # responses to one prompt that share a row, whose attention grows by the square


def score_saved(directory: Path, examples: Examples, session: Session, name: str) -> Scores:
    """Score every response with the model in a directory; see `score`."""
    scorer = open_model(directory, examples.longest, session)
    return score(scorer, examples, session, name, keep=True)


@torch.no_grad()
def score(
    model: nn.Module, examples: Examples, session: Session, name: str, *, keep: bool = False
) -> Scores:
    """Score every response, without dropout; each process gets all scores.

    Args:
        model: a `ResponseLogps`, or what `accelerator` has made of one.
        name: what the progress bar says.
        keep: keep what is scored, for a run that goes on after this one was interrupted.

    Raises:
        InputError: the model lacks some of the token ids, its output is not finite, or memory
            does not suffice for one prompt.
        signals.Stopped: a signal asked for it; what is scored is kept.
    """
    accelerator = session.accelerator
    rank, processes_ = accelerator.process_index, accelerator.num_processes
    scorer: ResponseLogps = accelerator.unwrap_model(model)
    _require_known_tokens(scorer, examples, name)
    work = _Work(examples, session, scorer, name, keep)
    training = model.training
    model.eval()
    with (
        bar(name, len(work.sums), "responses", work.done) as progress,
        # A signal waits until what is scored is kept.
        session.held(),
    ):
        while True:
            agreed = session.agree()
            if agreed.due:
                work.save()
            if agreed.stop:
                session.stop_if_asked()
            if not work.groups:
                break
            # Each process takes its own; where the last round has fewer, some come along idle.
            turn = work.groups[:processes_]
            group = turn[rank if rank < len(turn) else 0]
            batch = work.batch(group)
            try:
                with accelerator.autocast():
                    found = model(batch.to(accelerator.device))
            except RuntimeError as error:
                session.halve(error, work.positions(group), single=len(group) == 1)
                work.cut(np.concatenate(work.groups))
                continue
            if rank < len(turn):
                work.add(group, batch, found)
            work.groups = work.groups[processes_:]
            progress.update(sum(work.size(part) for part in turn))
    model.train(training)
    return work.scores()


class _Work:
    """What of a split is scored, and the micro-batches, `groups` of items, that are left."""

    def __init__(
        self, examples: Examples, session: Session, scorer: ResponseLogps, name: str, keep: bool
    ) -> None:
        self._examples, self._session, self._scorer = examples, session, scorer
        self._layout = scorer.abilities.layout
        self._name, self._keep = name, keep
        self._items = _items(examples.index)
        self._sizes = batches.shapes(examples, self._items, self._layout)
        self.sums, self.counts = np.zeros((2, len(examples.responses)))
        self.cut(np.arange(len(self._items)))
        self._begin()
        self._kept = len(self.groups)

    def cut(self, items: np.ndarray) -> None:
        """Cut what is left into micro-batches."""
        tokens = self._session.tokens_per_batch
        parts = batches.micro_batches(self._sizes[items], tokens, self._layout)
        self.groups = [items[part] for part in parts]

    def _begin(self) -> None:
        """Take over what an interrupted run has scored; only the main process holds it."""
        checkpoints, main = self._session.checkpoints, self._session.accelerator.is_main_process
        kept = checkpoints.array(self._file) if self._keep else None
        if kept is None:
            return
        sums, counts = kept
        self.groups = [g for g in self.groups if (counts[self._responses(g)] == 0).any()]
        logging.info("%s: goes on after %d responses", self._name, self.done)
        # A group of which a part was scored is scored again, perhaps by another process.
        for group in self.groups:
            sums[self._responses(group)] = counts[self._responses(group)] = 0
        if main:
            self.sums, self.counts = sums, counts

    @property
    def _file(self) -> str:
        return self._name.replace(": ", "-")

    @property
    def done(self) -> int:
        """How many responses are scored, here or by an interrupted run."""
        return len(self.sums) - sum(map(self.size, self.groups))

    def size(self, group: np.ndarray) -> int:
        return int((self._items.offsets[group + 1] - self._items.offsets[group]).sum())

    def _responses(self, group: np.ndarray) -> np.ndarray:
        return np.concatenate([self._items[item] for item in group])

    def positions(self, group: np.ndarray) -> int:
        return int(self._sizes[group].prod(1).sum())

    def batch(self, group: np.ndarray) -> Batch:
        return batches.make(self._examples, [self._items[item] for item in group], self._layout)

    def add(self, group: np.ndarray, batch: Batch, logps: Tensor) -> None:
        """Take in the log-probabilities of a micro-batch, (responses,)."""
        responses = self._responses(group)
        self.sums[responses] = logps.cpu().double().numpy()
        self.counts[responses] = batch.counts.numpy()

    def _total(self) -> np.ndarray:
        return processes.total(self._session.accelerator, np.stack([self.sums, self.counts]))

    def save(self) -> None:
        """Keep what is scored, if anything is since the last time."""
        if self._keep and len(self.groups) != self._kept:
            both = self._total()
            self._session.checkpoints.save_array(self._file, int((both[1] > 0).sum()), both)
            self._kept = len(self.groups)

    def scores(self) -> Scores:
        sums, counts = self._total()
        rows = self._examples.index.rows[self._examples.index.prompt_of]
        bad = np.flatnonzero(~np.isfinite(sums))
        if len(bad):
            raise InputError(
                f"{self._name}: {len(bad)} responses have no finite log-probability, the first is "
                f"of row {rows[bad[0]]}; the model is broken, or the precision too small: use "
                "fp32, bf16"
            )
        context = {
            **devices.context(self._session.accelerator),
            **devices.versions(),
            "data": self._examples.source or "unknown",
            "base_model": self._scorer.base_model,
        }
        return Scores(self._examples.index, sums, counts.astype(np.int32), context)


def _items(index: Index) -> Ragged:
    """The responses that are scored together: those to one prompt, up to so many."""
    counts = index.counts
    place = np.arange(len(index.prompt_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.flatnonzero(place % TOGETHER == 0)
    return Ragged(np.arange(len(place)), np.append(starts, len(place)))


def _require_known_tokens(scorer: ResponseLogps, examples: Examples, name: str) -> None:
    known = scorer.model.get_input_embeddings().num_embeddings
    if examples.largest_id >= known:
        raise InputError(
            f"{name}: the examples hold token ids up to {examples.largest_id}, the model knows "
            f"{known}; it goes with another tokenizer than the one that they were prepared with"
        )
