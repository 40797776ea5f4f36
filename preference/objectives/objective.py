"""What an objective is: all that training, metrics, the sweep and the report know of one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from preference.core.params import Scored, Train
from preference.core.sections import NonNegative, Section
from preference.objectives.batch import Batch
from preference.objectives.items import Anchors, Items
from preference.objectives.mismatched import mismatched
from preference.objectives.public_length import public_lengths
from preference.objectives.steps import step_sums
from preference.store.examples import Examples
from preference.store.scores import Metrics, Scores, log_ratios, mean, pair_margins, rewards

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


# What there is in the reference's scores of training data, by `reference.train`.
SCORED: dict[Scored, str] = {
    "none": "nothing",
    "responses": "the training responses",
    "mismatched": "the mismatched combinations",
    "public_length": "the responses cut to the length of their pair's shorter one",
}


@dataclass(frozen=True)
class Task:
    """What an objective makes of a split: items to visit, and their loss.

    Attributes:
        unit: what one item is, for people.
        examples: the split.
        items: (items, responses of each); those that are visited as a whole, of one prompt.
        weights: from items' indices to how much each counts, (items,); a step's loss is the sum of
            its items' losses over the sum of their weights.
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
        apart: what that pass runs in place of the examples, where these are not what the statistic
            is of: the same responses, each behind another prompt.
    """

    unit: str
    examples: Examples
    items: np.ndarray
    weights: Callable[[np.ndarray], np.ndarray]
    loss: "Callable[[Tensor, Tensor, np.ndarray, Tensor | None], Tensor]"
    counted: int = 1
    tally: "Callable[[Tensor, Tensor, np.ndarray], Tensor] | None" = None
    statistic: "Callable[[Tensor, Tensor, np.ndarray], Tensor] | None" = None
    apart: Examples | None = None

    def rows(self, index: np.ndarray) -> list[int]:
        """The rows of the raw table that items come from."""
        prompts = self.examples.index.prompt_of[self.items[index, 0]]
        return self.examples.index.rows[prompts].tolist()


class NoOptions(Section):
    """What a loss declares that has no options."""


class LabelWeights(Section):
    """What multiplies the loss of a desirable and of an undesirable response: KTO's lambdas.

    The mean over a step is over its responses, whatever these are.
    """

    desirable_weight: NonNegative = 1.0
    undesirable_weight: NonNegative = 1.0

    def times(self, losses: "Tensor", desirable: "Tensor") -> "Tensor":
        """The losses, multiplied by label; both of one shape."""
        return (losses * self.desirable_weight).where(desirable, losses * self.undesirable_weight)


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
        beside: what the reference scores beside the training responses, a choice of
            `reference.train`. Of mismatched combinations the statistic, one value, is had.
        margins: whether the loss asks for the margins that data may give with their pairs.
        tail: from options to what multiplies the log-probabilities of tokens that stand beyond the
            public length; `beside` is that, and scores are sums. None: they count as others do.
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
    beside: Literal["mismatched", "public_length"] | None = None
    margins: bool = False
    tail: Callable[[Any], float] | None = None

    @property
    def trained(self) -> str:
        """What tables and charts call the policy."""
        return f"SFT + {self.title}"

    @property
    def examples(self) -> int:
        """How many of those that a step's size counts a pair gives."""
        return 1 if self.needs == "pairs" else 2

    @property
    def scored(self) -> Scored:
        """What `reference.train` has to be, at least."""
        return self.beside or ("responses" if self.reference else "none")

    def lacks(self, scored: Scored) -> str | None:
        """What the objective needs and `reference.train` leaves out, for people."""
        enough = self.beside is None and (self.scored == "none" or scored != "none")
        return None if enough or scored == self.scored else SCORED[self.scored]

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
        normalize = self.normalizes(normalize)
        index, in_pairs = policy.index, self.needs == "pairs"
        sides = index.pairs.T if in_pairs else index.by_label()
        responses = np.concatenate(sides)
        desirable = np.arange(len(responses)) < len(sides[0])
        if in_pairs:
            responses, desirable = (each.reshape(2, -1).T for each in (responses, desirable))
        anchors = self._anchors(reference, normalize)
        known = anchors(slice(None)) if anchors else np.zeros_like(reference.logps)
        batch = Batch.of_scores(policy, known, normalize, responses, desirable)
        if in_pairs and index.margins is not None:
            batch = batch.asking(index.margins)
        loss = self._of_a_split(batch, settings, index.pair_weights if in_pairs else None)
        if not in_pairs:
            return {"loss": loss} | label_metrics(policy, reference, settings.beta, normalize)
        reward = settings.beta * batch.margin.numpy()
        return {"loss": loss, "reward_acc": mean(reward > 0), "reward": mean(reward)}

    def _of_a_split(self, batch: Batch, settings: Train, weights: np.ndarray | None) -> float:
        """The mean loss of a split that is one step."""
        statistic = self.statistic(batch) if self.statistic else None
        if statistic is not None and self.beside == "mismatched":
            # Of training data alone there are scores to estimate it from.
            statistic = statistic * 0
        losses = self.loss(batch.given(statistic), settings, self.asked(settings)).numpy()
        return mean(losses, weights)

    def _anchors(self, scored: Scores | None, normalize: bool) -> Anchors | None:
        """What the loss compares the responses of a split with; None: with 0."""
        if not self.reference:
            return None
        if scored is None:
            raise ValueError(f"{self.title} needs scores by the reference")
        return partial(scored.of_responses, normalize)

    def task(
        self,
        examples: Examples,
        anchors: Scores | None,
        settings: Train,
        normalize: bool,
        seed: int,
        apart: Scores | None = None,
    ) -> Task:
        """What there is to train on; `train.label_noise` of the labels are swapped.

        Labelled responses are visited singly or, as `train.kto.shuffle` asks, both of a pair
        together: other steps, the same loss of each.

        Args:
            anchors: the reference's scores; None where it needs none.
            apart: the same of what is `beside` the responses, where it needs them.
        """
        in_pairs, normalize = self.needs == "pairs", self.normalizes(normalize)
        items, options = Items.of(examples.index, settings, seed, in_pairs), self.asked(settings)
        of_responses = self._anchors(anchors, normalize)
        of_others = self._anchors(apart, normalize) if self.beside else None
        visited = examples
        known = of_responses
        if self.tail and of_responses and of_others:
            beyond = self.tail(options)
            visited = replace(examples, public=public_lengths(examples), beyond=beyond)
            known = partial(_in_between, of_others, of_responses, beyond)
        others = of_others if self.beside == "mismatched" else known

        def batch(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> Batch:
            return items.batch(logps, counts, index, known, normalize)

        def loss(
            logps: "Tensor", counts: "Tensor", index: np.ndarray, found: "Tensor | None"
        ) -> "Tensor":
            each = self.loss(batch(logps, counts, index).given(found), settings, options)
            return items.weighed(each, index)

        def tally(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "Tensor":
            found = batch(logps, counts, index)
            rewards = settings.beta * (found.policy - found.reference)
            return step_sums(rewards, found.logps, found.desirable)

        def statistic(logps: "Tensor", counts: "Tensor", index: np.ndarray) -> "Tensor":
            assert self.statistic is not None
            return self.statistic(items.batch(logps, counts, index, others, normalize))

        return Task(
            unit="pairs" if items.size == 2 else "examples",
            examples=visited,
            items=items.responses,
            weights=items.totals,
            loss=loss,
            counted=1 if in_pairs else items.size,
            tally=tally,
            statistic=statistic if self.statistic else None,
            apart=mismatched(examples, seed) if self.beside == "mismatched" else None,
        )


def _in_between(
    one: Anchors, other: Anchors, share: float, responses: np.ndarray | slice
) -> np.ndarray:
    """Scores that are this share of the way from one to the other."""
    found = one(responses)
    return found + share * (other(responses) - found)


def label_metrics(policy: Scores, reference: Scores, beta: float, normalize: bool) -> Metrics:
    """`label_acc` (share of responses where reward > 0 equals the label) and mean rewards.

    Both sides of every pair count as examples, and labelled responses in no pair. `pair_margin` is
    the margin by its other name.
    """
    found = rewards(policy, reference, normalize, beta)
    desired, undesired = (found[which] for which in policy.index.by_label())
    both = np.concatenate([desired, undesired])
    labels = np.arange(len(both)) < len(desired)
    return {
        "label_acc": mean((both > 0) == labels),
        "mean_reward": mean(both),
        "desired_reward": mean(desired),
        "undesired_reward": mean(undesired),
        "pair_margin": mean(pair_margins(policy, normalize)),
    }
