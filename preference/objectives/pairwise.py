"""Objectives of pairs: a loss of four scores each, made into what training visits."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from preference.core.params import Train
from preference.objectives.objective import Objective, Task, flips
from preference.store.examples import Examples, Ragged
from preference.store.scores import Metrics, Scores

if TYPE_CHECKING:
    from torch import Tensor


def objective(
    title: str,
    loss: "Callable[[Tensor, Tensor, Tensor, Tensor, Train], Tensor]",
    metrics: Callable[[Scores, Scores, Train, bool], Metrics],
    *,
    reference: bool = True,
) -> Objective:
    """An objective whose examples are pairs, of which `train.label_noise` swaps some.

    Args:
        loss: from the scores of chosen and rejected by the policy, then by the reference, (pairs,)
            each, in nats, sums or means over tokens, and params, to losses in nats, (pairs,).
        metrics: as in `Objective`.
        reference: as in `Objective`.
    """

    def task(
        examples: Examples, anchors: Scores, settings: Train, normalize: bool, seed: int
    ) -> Task:
        import torch

        pairs = examples.index.pairs
        flipped = flips(len(pairs), settings.label_noise, seed)
        # Which of the two that stand in the data counts as chosen, and which as rejected.
        order = torch.from_numpy(np.stack([flipped, ~flipped], axis=1).astype(np.int64))
        known = anchors.of_responses(normalize) if reference else np.zeros(len(anchors.logps))
        anchor = torch.from_numpy(known[pairs]).float().gather(1, order)

        def losses(
            logps: "Tensor", counts: "Tensor", index: np.ndarray, statistic: "Tensor | None"
        ) -> "Tensor":
            scores = (logps / counts if normalize else logps).view(-1, 2)
            chosen, rejected = scores.gather(1, order[index].to(scores.device)).T
            theirs = anchor[index].to(scores.device)
            return loss(chosen, rejected, theirs[:, 0], theirs[:, 1], settings)

        items = Ragged.of(pairs.reshape(-1), np.full(len(pairs), 2))
        return Task("pairs", examples, items, np.ones(len(pairs)), losses)

    return Objective(title, "pairs", task, metrics, reference)
