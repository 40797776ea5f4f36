"""What an objective is: all that training, metrics, the sweep and the report know of one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from preference.core.errors import InputError
from preference.core.params import Train
from preference.core.sections import Section
from preference.objectives.batch import Batch
from preference.objectives.label_noise import flips
from preference.store.examples import Examples, Index, Ragged
from preference.store.scores import Metrics, Scores, log_ratios, mean

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
            (responses,), the items' indices (micro-batch,) and what the statistic says of them to
            losses in nats, (micro-batch,), each the sum over the item's examples.
        counted: how many of those that a step's size counts are in one item.
        tally: from what `loss` has of a micro-batch to its `step_sums`.
        statistic: from the log-probabilities of a whole step, its token counts and its items'
            indices to what the loss needs of all of it: one value, such as an estimate of the KL
            divergence, or one for each item, (items, ...), such as its rank. It is had in a pass
            without gradients before the step is cut, so that how it is cut changes nothing. None
            where the loss needs no such thing.
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


class NoOptions(Section):
    """What a loss declares that has no options."""


@dataclass(frozen=True)
class Objective:
    """An objective of `train`, as its file in `losses/` registers it under the file's name.

    Attributes:
        title: what tables and charts call it.
        needs: pairs, or responses with labels, which the two sides of a pair are as well.
        loss: from a micro-batch, params and options to losses in nats: (pairs,) of pairs, of
            labelled responses of the batch's shape.
        metrics: those of its own, from the scores of policy and reference, params, and whether
            scores are means over tokens; without them it has those of `measured`.
        options: what `train.options` may hold, each with its bounds and a default.
        reference: whether the loss compares with the reference; else its scores are 0.
        length_normalize: whether its scores are means over tokens, where its paper defines it so;
            None: what `scoring.length_normalize` says.
        statistic: from a whole step to what the loss needs of all of it: one value, or one for
            each item. It never has a gradient.
    """

    title: str
    needs: Literal["pairs", "labels"]
    # Each has options of its own kind.
    loss: "Callable[[Batch, Train, Any], Tensor]"
    metrics: Callable[[Scores, Scores, Train, bool], Metrics] | None = None
    options: type[Section] = NoOptions
    reference: bool = True
    length_normalize: bool | None = None
    statistic: "Callable[[Batch], Tensor] | None" = None

    @property
    def trained(self) -> str:
        """What tables and charts call the policy."""
        return f"SFT + {self.title}"

    @property
    def examples(self) -> int:
        """How many of those that a step's size counts a pair gives."""
        return 1 if self.needs == "pairs" else 2

    def asked(self, settings: Train) -> Section:
        """Its options, as `train.options` has them; `params.load` has checked them."""
        return self.options.model_validate(settings.options)

    def normalizes(self, normalize: bool) -> bool:
        """Whether its scores are means over tokens, where the params say `normalize`."""
        return normalize if self.length_normalize is None else self.length_normalize

    def against_reference(
        self, policy: Scores, reference: Scores, settings: Train, normalize: bool
    ) -> Metrics:
        """The metrics that need a reference: its own, and what holds for every objective."""
        ratios = log_ratios(policy, reference, normalize)
        own = self.metrics(policy, reference, settings, normalize) if self.metrics else None
        return (own or self.measured(policy, reference, settings, normalize)) | ratios

    def measured(
        self, policy: Scores, reference: Scores, settings: Train, normalize: bool
    ) -> Metrics:
        """Its own `loss`, a mean over a split that is one step; of pairs rewards as well.

        A reward is beta x (policy - reference) of a response's score. `reward_acc` is the share of
        pairs whose chosen response has strictly the higher one, `reward` the mean difference.
        """
        index, normalize = policy.index, self.normalizes(normalize)
        in_pairs = self.needs == "pairs"
        sides = index.pairs.T if in_pairs else index.by_label()
        responses = np.concatenate(sides)
        desirable = np.arange(len(responses)) < len(sides[0])
        if in_pairs:
            responses, desirable = (each.reshape(2, -1).T for each in (responses, desirable))
        known = self._anchors(reference, normalize)
        batch = Batch.of_scores(policy, known, normalize, responses, desirable)
        found = batch.given(self.statistic(batch) if self.statistic else None)
        loss = mean(self.loss(found, settings, self.asked(settings)).numpy())
        if not in_pairs:
            return {"loss": loss}
        reward = settings.beta * batch.margin.numpy()
        return {"loss": loss, "reward_acc": mean(reward > 0), "reward": mean(reward)}

    def _anchors(self, reference: Scores, normalize: bool) -> np.ndarray:
        """What the loss compares the responses of a split with, (responses,)."""
        scores = reference.of_responses(normalize)
        return scores if self.reference else np.zeros_like(scores)

    def task(
        self, examples: Examples, anchors: Scores, settings: Train, normalize: bool, seed: int
    ) -> Task:
        """What there is to train on; `train.label_noise` of the labels are swapped.

        Labelled responses are visited singly or, as `train.kto.shuffle` asks, both of a pair
        together: other steps, the same loss of each.
        """
        import torch

        in_pairs, normalize = self.needs == "pairs", self.normalizes(normalize)
        size = 2 if in_pairs or settings.kto.shuffle == "pairs" else 1
        responses, desirable = _labelled(examples.index, settings, seed, in_pairs)
        known = self._anchors(anchors, normalize).astype(np.float32)
        wanted, anchor, weights = (
            torch.from_numpy(values).view(-1, size)
            for values in (desirable, known[responses], examples.index.weights[responses])
        )
        # Where the loss finds each: of a pair the chosen one first.
        order = (~wanted).long() if in_pairs else torch.arange(size).expand(wanted.shape)
        anchor, wanted = anchor.gather(1, order), wanted.gather(1, order)
        options = self.asked(settings)

        def batch(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> Batch:
            device = logps.device
            scores, sums, tokens = (
                values.view(-1, size).gather(1, order[index].to(device))
                for values in (logps / counts if normalize else logps, logps, counts)
            )
            return Batch(scores, anchor[index].to(device), wanted[index].to(device), sums, tokens)

        def loss(
            logps: "Tensor", counts: "Tensor", index: np.ndarray, found: "Tensor | None"
        ) -> "Tensor":
            each = self.loss(batch(logps, counts, index).given(found), settings, options)
            return each if in_pairs else (each * weights[index].to(logps.device)).sum(1)

        def tally(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> np.ndarray:
            found = batch(logps, counts, index)
            rewards = settings.beta * (found.policy - found.reference)
            reward, summed = (values.double().cpu().numpy() for values in (rewards, found.logps))
            return step_sums(reward, summed, wanted[index].numpy())

        def statistic(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "Tensor":
            assert self.statistic is not None
            return self.statistic(batch(logps, counts, index))

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
