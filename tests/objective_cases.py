"""Four pairs, what a policy and a reference give them, and the rewards that follow."""

import math

import naive
import numpy as np
import settings
import torch

from preference.core.params import Train
from preference.store.examples import Examples
from preference.store.scores import Scores

BETA, TARGET_KL, SEED = 0.5, 0.3, 7

# Log-probabilities and token counts that a policy might give four pairs; chosen, then rejected.
LOGPS = torch.tensor([[-6.0, -9.0], [-2.0, -1.0], [-8.0, -8.0], [-3.0, -5.0]])
COUNTS = torch.tensor([[3, 3], [2, 1], [4, 2], [1, 5]])


def made_pairs(count: int) -> Examples:
    return naive.make_pairs([([1, 2], [3, 0], [4, 0])] * count, 4)


PAIRS = made_pairs(4)
CHOSEN = ([-9.0, -2.0, -4.0, -3.5], [3, 2, 4, 1])
REJECTED = ([-6.0, -2.0, -10.0, -4.0], [3, 1, 2, 5])
REFERENCE = naive.make_scores(CHOSEN, REJECTED)
SWAPPED = naive.make_scores(REJECTED, CHOSEN)


def train(objective: str, label_noise: float = 0.0, shuffle: str = "examples") -> Train:
    return settings.train(
        objective=objective,
        beta=BETA,
        label_noise=label_noise,
        evaluate="test",
        batch_size=2,
        kto={"target_kl": TARGET_KL, "shuffle": shuffle},
    )


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def rewards(normalize: bool) -> list[tuple[float, float]]:
    """beta x (policy - reference) of every pair's chosen and rejected."""
    found = []
    for pair in range(4):
        tokens = COUNTS[pair].tolist() if normalize else (1, 1)
        theirs = CHOSEN[0][pair], REJECTED[0][pair]
        chosen, rejected = (
            BETA * (policy / n - reference / n)
            for policy, reference, n in zip(LOGPS[pair].tolist(), theirs, tokens, strict=True)
        )
        found.append((chosen, rejected))
    return found


def labelled(labels: list[int], weights: list[float]) -> tuple[Examples, Scores]:
    """Single responses with labels, and their reference's scores."""
    examples = naive.make_examples([([1, 2], [[3, 0]])] * len(labels), 4, [])
    examples.index.labels[:], examples.index.weights[:] = labels, weights
    logps = -1.0 - np.arange(len(labels))
    return examples, Scores(examples.index, logps, np.full(len(labels), 2))
