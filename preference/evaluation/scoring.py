"""A saved model, run over all responses of a split."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from preference.core.errors import InputError
from preference.core.progress import bar
from preference.model import batches
from preference.model.batches import Batch, Layout
from preference.model.scorer import ResponseLogps, open_model
from preference.runtime import devices, processes
from preference.runtime.session import Session
from preference.store.examples import Examples, Ragged
from preference.store.index import Index, blocks
from preference.store.scores import Scores

TOGETHER = 8  # responses to one prompt that share a row, whose attention grows by the square
PROMPTS = 2**18  # that are cut into micro-batches at a time


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
    layout = scorer.abilities.layout
    _require_known_tokens(scorer, examples, name)
    training = model.training
    model.eval()
    run = partial(_pass, model, accelerator)
    work = _Work(examples, layout, session, name if keep else None, run)
    with (
        bar(name, len(examples.responses), "responses", work.kept) as progress,
        # A signal waits until what is scored is kept.
        session.held(),
    ):
        while True:
            _, due, stop = session.agree()
            if due:
                work.save()
            if stop:
                session.stop_if_asked()
            # Each process takes its own; where the last round has fewer, some come along idle.
            turn = work.next(processes_)
            if not turn:
                break
            group = turn[rank if rank < len(turn) else 0]
            batch, found = work.batch(group), None
            try:
                found = run(batch)
            except RuntimeError as error:
                session.require_out_of_memory(error, alone=True)
            if session.anywhere(found is None):
                work.halve(turn)
                continue
            if found is not None and rank < len(turn):
                both = np.stack([found.cpu().double().numpy(), batch.counts.numpy()])
                work.found[:, work.responses(group)] = both
            progress.update(work.finish(turn))
    model.train(training)
    sums, counts = work.total()
    _require_finite(sums, examples.index, name)
    origin = {"data": examples.source or "unknown", "base_model": scorer.base_model}
    context = devices.context(accelerator) | origin
    return Scores(examples.index, sums, counts.astype(np.int32), context)


def _pass(model: nn.Module, accelerator: Accelerator, batch: Batch) -> torch.Tensor:
    with accelerator.autocast():
        return model(batch.to(accelerator.device))


class _Work:
    """What of a split is scored, and the micro-batches, `groups` of items, that come next.

    They are cut for so many prompts at a time, so that what that takes does not grow with a split.

    Args:
        kept_as: under which name an interrupted run has kept what it scored, and this one does.
        run: a pass of the model.

    Attributes:
        found: (2, responses); sums, and counts of tokens, which are 0 until a response is scored.
        kept: how many an interrupted run has scored.
        items: responses that are scored together, of the prompts at hand.
    """

    def __init__(
        self,
        examples: Examples,
        layout: Layout,
        session: Session,
        kept_as: str | None,
        run: Callable[[Batch], torch.Tensor],
    ) -> None:
        self._examples, self._session, self._layout = examples, session, layout
        self._run = run
        self._kept_as = kept_as and kept_as.replace(": ", "-")
        self._prompts = blocks(len(examples.prompts), PROMPTS)
        self._groups: list[np.ndarray] = []
        self._done: np.ndarray | None = None
        self.found, self.kept = np.zeros((2, len(examples.responses))), 0
        found = session.checkpoints.array(self._kept_as) if self._kept_as else None
        if found is not None:
            self._done = found[1] > 0
            self.kept = int(self._done.sum())
            logging.info("%s: goes on after %d responses", self._kept_as, self.kept)
            # Only the main process holds what is summed up over all.
            if session.accelerator.is_main_process:
                self.found = found
        self._saved = True

    def next(self, count: int) -> list[np.ndarray]:
        """The next groups, as many as there are at hand, up to a number; none at the end."""
        while not self._groups and (prompts := next(self._prompts, None)):
            self._begin(prompts)
        return self._groups[:count]

    def _begin(self, prompts: slice) -> None:
        self.items = _items(self._examples.index, prompts)
        self._sizes = batches.shapes(self._examples, self.items, self._layout)
        self._session.make_room(lambda group: self._run(self.batch(group)), self._sizes)
        self._cut(np.arange(len(self.items)))
        done = self._done
        if done is not None:
            self._groups = [g for g in self._groups if not done[self.responses(g)].all()]
            # A group of which a part was scored is scored again, perhaps by another process.
            for group in self._groups:
                self.found[:, self.responses(group)] = 0

    def _cut(self, items: np.ndarray) -> None:
        """Cut items into micro-batches, the groups that come next."""
        tokens = self._session.tokens_per_batch
        least = batches.least(self._session.accelerator.device)
        parts = batches.micro_batches(self._sizes[items], tokens, self._layout, least)
        self._groups = [items[part] for part in parts]

    def batch(self, group: np.ndarray) -> Batch:
        return batches.make(self._examples, [self.items[item] for item in group], self._layout)

    def responses(self, group: np.ndarray) -> np.ndarray:
        return np.concatenate([self.items[item] for item in group])

    def finish(self, groups: Sequence[np.ndarray]) -> int:
        """Leave groups behind that are scored, of `next`; how many responses they have."""
        self._groups, self._saved = self._groups[len(groups) :], False
        return sum(self.responses(group).size for group in groups)

    def total(self) -> np.ndarray:
        """What all processes have found."""
        return processes.total(self._session.accelerator, self.found)

    def halve(self, tried: Sequence[np.ndarray]) -> None:
        """Cut what is left smaller than what was tried, for which there was no memory."""
        largest = max(int(self._sizes[group, 1].sum()) for group in tried)
        self._session.halve(largest, single=max(map(len, tried)) == 1)
        self._cut(np.concatenate(self._groups))

    def save(self) -> None:
        """Keep what is scored, if anything is since the last time."""
        if self._kept_as and not self._saved:
            both = self.total()
            self._session.checkpoints.save_array(self._kept_as, int((both[1] > 0).sum()), both)
            self._saved = True


def _require_finite(sums: np.ndarray, index: Index, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(sums))
    if len(bad):
        raise InputError(
            f"{name}: {len(bad)} responses have no finite log-probability, the first is of row "
            f"{index.rows[index.prompt_of[bad[0]]]}; the model is broken, or the precision too "
            "small: use fp32, bf16"
        )


def _items(index: Index, prompts: slice) -> Ragged:
    """The responses that are scored together: those to one prompt, up to so many."""
    first, last = np.searchsorted(index.prompt_of, [prompts.start, prompts.stop])
    counts = np.bincount(index.prompt_of[first:last] - prompts.start)
    place = np.arange(last - first) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.flatnonzero(place % TOGETHER == 0)
    return Ragged.of(np.arange(first, last), np.diff(np.append(starts, last - first)))


def _require_known_tokens(scorer: ResponseLogps, examples: Examples, name: str) -> None:
    known = scorer.model.get_input_embeddings().num_embeddings
    if examples.largest_id >= known:
        raise InputError(
            f"{name}: the examples hold token ids up to {examples.largest_id}, the model knows "
            f"{known}; it goes with another tokenizer than the one that they were prepared with"
        )
