"""What an objective is: all that training, metrics, the sweep and the report know of one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from preference.core.errors import InputError
from preference.core.params import Train
from preference.objectives.label_noise import flips
from preference.store.examples import Examples, Index, Ragged
from preference.store.scores import Metrics, Scores, log_ratios

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


NO_SUMS = np.zeros(8)  # `step_sums` of nothing


@dataclass(frozen=True)
class Task:
    """What an objective makes of a split: items to visit, and their loss.

    Attributes:
        unit: what one item is, for people.
        examples: the split.
        items: the responses that are visited as a whole, of one prompt, (items,).
        weights: (items,); a step's loss is the sum of its items' losses over the sum of their
            weights.
        loss: from the log-probabilities of a micro-batch (responses,), their token counts
            (responses,), the items' indices (micro-batch,) and the step's statistic to losses in
            nats, (micro-batch,), each the sum over the item's examples.
        counted: how many of those that a step's size counts are in one item.
        tally: from what `loss` has of a micro-batch to its `step_sums`.
        statistic: from the log-probabilities of a whole step, its token counts and its items'
            indices to what the loss needs of all of it, such as an estimate of the KL divergence.
            It is had in a pass without gradients before the step is cut, so that how it is cut
            changes nothing. None where the loss needs no such thing.
    """

    unit: str
    examples: Examples
    items: Ragged
    weights: np.ndarray
    loss: "Callable[[Tensor, Tensor, np.ndarray, Tensor | None], Tensor]"
    counted: int = 1
    tally: "Callable[[Tensor, Tensor, np.ndarray], np.ndarray] | None" = None
    statistic: "Callable[[Tensor, Tensor, np.ndarray], Tensor] | None" = None

    def rows(self, index: np.ndarray) -> list[int]:
        """The rows of the raw table that items come from."""
        prompts = self.examples.index.prompt_of[[self.items[item][0] for item in index]]
        return self.examples.index.rows[prompts].tolist()


@dataclass(frozen=True)
class Objective:
    """An objective of `train`, as its file in `losses/` registers it under the file's name.

    Attributes:
        title: what tables and charts call it.
        needs: pairs, or responses with labels, which the two sides of a pair are as well.
        loss: from the scores of a micro-batch by the policy and by the reference, in nats, sums or
            means over tokens, whether each response is desirable, params and the step's statistic
            to losses in nats. Of pairs, the first three are (pairs, 2), chosen first, and the
            losses (pairs,); of labelled responses all are of one shape.
        metrics: those of its own, from the scores of policy and reference, params, and whether
            scores are means over tokens.
        reference: whether the loss compares with the reference; else its scores are 0.
        statistic: from the scores of a whole step by the policy and by the reference to what the
            loss needs of all of it, such as an estimate of the KL divergence.
    """

    title: str
    needs: Literal["pairs", "labels"]
    loss: "Callable[[Tensor, Tensor, Tensor, Train, Tensor | None], Tensor]"
    metrics: Callable[[Scores, Scores, Train, bool], Metrics]
    reference: bool = True
    statistic: "Callable[[Tensor, Tensor], Tensor] | None" = None

    @property
    def trained(self) -> str:
        """What tables and charts call the policy."""
        return f"SFT + {self.title}"

    @property
    def examples(self) -> int:
        """How many of those that a step's size counts a pair gives."""
        return 1 if self.needs == "pairs" else 2

    def against_reference(
        self, policy: Scores, reference: Scores, settings: Train, normalize: bool
    ) -> Metrics:
        """The metrics that need a reference: its own, and what holds for every objective."""
        own = self.metrics(policy, reference, settings, normalize)
        return own | log_ratios(policy, reference, normalize)

    def task(
        self, examples: Examples, anchors: Scores, settings: Train, normalize: bool, seed: int
    ) -> Task:
        """What there is to train on; `train.label_noise` of the labels are swapped.

        Labelled responses are visited singly or, as `train.kto.shuffle` asks, both of a pair
        together: other steps, the same loss of each.
        """
        import torch

        in_pairs = self.needs == "pairs"
        size = 2 if in_pairs or settings.kto.shuffle == "pairs" else 1
        responses, desirable = _labelled(examples.index, settings, seed, in_pairs)
        known = anchors.of_responses(normalize) if self.reference else np.zeros(len(anchors.logps))
        wanted, anchor, weights = (
            torch.from_numpy(values).view(-1, size)
            for values in (
                desirable,
                known[responses].astype(np.float32),
                examples.index.weights[responses],
            )
        )
        # Where the loss finds each: of a pair the chosen one first.
        order = (~wanted).long() if in_pairs else torch.arange(size).expand(wanted.shape)
        anchor, wanted = anchor.gather(1, order), wanted.gather(1, order)

        def scores(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "tuple[Tensor, Tensor]":
            own = (logps / counts if normalize else logps).view(-1, size)
            return own.gather(1, order[index].to(own.device)), anchor[index].to(own.device)

        def loss(
            logps: "Tensor", counts: "Tensor", index: np.ndarray, found: "Tensor | None"
        ) -> "Tensor":
            policy, reference = scores(logps, counts, index)
            each = self.loss(policy, reference, wanted[index].to(policy.device), settings, found)
            return each if in_pairs else (each * weights[index].to(logps.device)).sum(1)

        def tally(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> np.ndarray:
            policy, reference = scores(logps, counts, index)
            sums = logps.view(-1, size).gather(1, order[index].to(logps.device))
            rewards = settings.beta * (policy - reference)
            reward, summed = (values.double().cpu().numpy() for values in (rewards, sums))
            return step_sums(reward, summed, wanted[index].numpy())

        def statistic(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "Tensor":
            assert self.statistic is not None
            return self.statistic(*scores(logps, counts, index))

        return Task(
            unit="pairs" if size == 2 else "examples",
            examples=examples,
            items=Ragged.of(responses, np.full(len(wanted), size)),
            weights=np.ones(len(wanted)) if in_pairs else weights.sum(1).double().numpy(),
            loss=loss,
            counted=1 if in_pairs else size,
            tally=tally,
            statistic=statistic if self.statistic else None,
        )


def _labelled(
    index: Index, settings: Train, seed: int, in_pairs: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The responses to train on, and whether each is desirable, (examples,)."""
    pairs, noise = index.pairs, settings.label_noise
    flipped = flips(len(pairs), noise, seed)
    sides = np.stack([~flipped, flipped], axis=1).reshape(-1)
    single = np.sort(np.concatenate([side[len(pairs) :] for side in index.by_label()]))
    if in_pairs or not len(single):
        return pairs.reshape(-1), sides
    if settings.kto.shuffle == "pairs":
        raise InputError(
            f"train.kto.shuffle: pairs asks for pairs, and {len(single)} labelled responses of the "
            "training data are in none; set it to examples"
        )
    labels = (index.labels[single] == 1) ^ flips(len(single), noise, seed)
    return np.append(pairs.reshape(-1), single), np.append(sides, labels)


def step_sums(rewards: np.ndarray, logps: np.ndarray, desirable: np.ndarray) -> np.ndarray:
    """What `step_metrics` needs of some items of a step; adds up over micro-batches and processes.

    Args:
        rewards: implicit ones, (items, responses of each).
        logps: of the responses, sums over their tokens in nats, (items, responses of each).
        desirable: whether each response is, (items, responses of each).

    Returns:
        (8,): how many are desirable and how many not, the same of rewards and of
        log-probabilities, then pairs, and those whose desirable response has the higher reward.
    """
    sides = [desirable, ~desirable]
    sums = [values[side].sum() for values in (rewards, logps) for side in sides]
    paired = desirable.sum(axis=1) * 2 == desirable.shape[1]
    margins = np.where(desirable, rewards, -rewards)[paired].sum(axis=1)
    hits = (margins > 0).sum()
    return np.array([*(side.sum() for side in sides), *sums, len(margins), hits], dtype=float)


def step_metrics(sums: Iterable[float]) -> Metrics:
    """What training says of a step, by the names that TRL has; what it has none of is left out.

    Args:
        sums: of all that is in it.
    """
    desirable, undesirable, *four, pairs, hits = map(float, sums)
    counts = (desirable, undesirable) * 2
    names = ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")
    named = zip(names, four, counts, strict=True)
    found = {name: value / count for name, value, count in named if count}
    if desirable and undesirable:
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
    if pairs:
        found["rewards/accuracies"] = hits / pairs
    return found
