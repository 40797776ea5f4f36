"""What an objective is: all that training, metrics, the sweep and the report know of one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from preference.core.params import Train
from preference.store.examples import Examples, Ragged
from preference.store.scores import Metrics, Scores

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


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
        reference: whether its loss compares with the reference; else the scores of that are 0.
        task: what there is to train on, from examples, the reference's scores of them, params,
            whether scores are means over tokens, and the seed.
        metrics: those of its own, from the scores of policy and reference, params, and whether
            scores are means over tokens.
        examples: how many of those that a step's size counts a pair gives.
    """

    title: str
    needs: Literal["pairs", "labels"]
    task: Callable[[Examples, Scores, Train, bool, int], Task]
    metrics: Callable[[Scores, Scores, Train, bool], Metrics]
    reference: bool = True
    examples: int = 1

    @property
    def trained(self) -> str:
        """What tables and charts call the policy."""
        return f"SFT + {self.title}"


def flips(count: int, share: float, seed: int) -> np.ndarray:
    """Which training labels `train.label_noise` swaps, (count,) booleans.

    Exactly round(share x count), drawn so that a smaller share flips a subset of a larger one.
    """
    flipped = np.zeros(count, dtype=bool)
    order = np.random.default_rng([seed, *b"label_noise"]).permutation(count)
    flipped[order[: round(share * count)]] = True
    return flipped
