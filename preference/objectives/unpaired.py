"""Objectives of labelled responses: a loss of one score each, made into what training visits."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from preference.core.errors import InputError
from preference.core.params import Train
from preference.objectives.objective import Objective, Task, flips
from preference.store.examples import Examples, Ragged
from preference.store.scores import Metrics, Scores

if TYPE_CHECKING:
    from torch import Tensor


def objective(
    title: str,
    loss: "Callable[[Tensor, Tensor, Tensor, Train, Tensor | None], Tensor]",
    metrics: Callable[[Scores, Scores, Train, bool], Metrics],
    *,
    reference: bool = True,
    statistic: "Callable[[Tensor, Tensor], Tensor] | None" = None,
) -> Objective:
    """An objective whose examples are the two sides of every pair, and other labelled responses.

    They are visited singly or, as `train.kto.shuffle` asks, both of a pair together: other steps,
    the same loss of each example.

    Args:
        loss: from the responses' scores by the policy and by the reference, in nats, sums or means
            over tokens, whether they are desirable, params, and the statistic of their step, to
            losses in nats; all but the last two are of one shape, and so is what comes out.
        metrics: as in `Objective`.
        reference: as in `Objective`.
        statistic: from the scores of a whole step by the policy and by the reference to what
            `loss` needs of all of it.
    """

    def task(
        examples: Examples, anchors: Scores, settings: Train, normalize: bool, seed: int
    ) -> Task:
        import torch

        together = settings.kto.shuffle == "pairs"
        responses, desirable = _labelled(examples, settings.label_noise, seed, together)
        size = 2 if together else 1
        known = anchors.of_responses(normalize) if reference else np.zeros(len(anchors.logps))
        anchor, labels, weights = (
            torch.from_numpy(values).view(-1, size)
            for values in (
                known[responses].astype(np.float32),
                desirable,
                examples.index.weights[responses],
            )
        )

        def scores(logps: "Tensor", counts: "Tensor") -> "Tensor":
            return (logps / counts if normalize else logps).view(-1, size)

        def losses(
            logps: "Tensor", counts: "Tensor", index: np.ndarray, found: "Tensor | None"
        ) -> "Tensor":
            theirs, wanted, counted = (
                part[index].to(logps.device) for part in (anchor, labels, weights)
            )
            each = loss(scores(logps, counts), theirs, wanted, settings, found)
            return (each * counted).sum(1)

        def of_step(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "Tensor":
            assert statistic is not None
            return statistic(scores(logps, counts), anchor[index].to(logps.device))

        items = Ragged.of(responses, np.full(len(responses) // size, size))
        return Task(
            "pairs" if together else "examples",
            examples,
            items,
            weights.sum(1).double().numpy(),
            losses,
            size,
            of_step if statistic else None,
        )

    return Objective(title, "labels", task, metrics, reference, examples=2)


def _labelled(
    examples: Examples, noise: float, seed: int, together: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The responses to train on, and whether each is desirable, (examples,)."""
    index = examples.index
    pairs = index.pairs
    flipped = flips(len(pairs), noise, seed)
    sides = np.stack([~flipped, flipped], axis=1)
    desirable, undesirable = (side[len(pairs) :] for side in index.by_label())
    single = np.sort(np.append(desirable, undesirable))
    if together and len(single):
        raise InputError(
            f"train.kto.shuffle: pairs asks for pairs, and {len(single)} labelled responses of the "
            "training data are in none; set it to examples"
        )
    labels = (index.labels[single] == 1) ^ flips(len(single), noise, seed)
    return np.append(pairs.reshape(-1), single), np.append(sides.reshape(-1), labels)
