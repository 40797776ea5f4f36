"""DPO and simple KTO on cached reference scores, as objectives of training."""

import numpy as np
import torch
from torch import Tensor

from preference import losses
from preference.batches import BOTH, Item, Side
from preference.objectives import Objective
from preference.params import Train
from preference.tables import Pairs, Scores


def dpo(pairs: Pairs, reference: Scores, settings: Train, normalize: bool, seed: int) -> Objective:
    """Direct preference optimization; an example is a pair."""
    flipped = flips(len(pairs), settings.label_noise, seed)
    chosen, rejected = reference.responses(normalize)
    anchors = torch.from_numpy(np.stack([chosen, rejected], axis=1)).float()

    def loss(logps: Tensor, counts: Tensor, index: np.ndarray) -> Tensor:
        policy = _scores(logps, counts, normalize).view(-1, 2)
        anchor = anchors[index].to(policy.device)
        swapped = torch.from_numpy(flipped[index]).to(policy.device)[:, None]
        policy = torch.where(swapped, policy.flip(1), policy)
        anchor = torch.where(swapped, anchor.flip(1), anchor)
        return losses.dpo(policy[:, 0], policy[:, 1], anchor[:, 0], anchor[:, 1], settings.beta)

    items = [Item(pair, BOTH) for pair in range(len(pairs))]
    return Objective("pairs", items, np.ones(len(items)), loss)


def kto(pairs: Pairs, reference: Scores, settings: Train, normalize: bool, seed: int) -> Objective:
    """Simple KTO; an example is one response, labelled by the side of the pair that it was.

    Examples are visited singly or, as `train.kto.shuffle` asks, both of a pair together: other
    steps, the same loss of each example.
    """
    flipped = flips(len(pairs), settings.label_noise, seed)
    chosen, rejected = reference.responses(normalize)
    together = settings.kto.shuffle == "pairs"
    visited: list[tuple[Side, ...]] = [BOTH] if together else [("chosen",), ("rejected",)]
    items = [Item(pair, sides) for pair in range(len(pairs)) for sides in visited]
    examples = len(visited[0])
    anchors = torch.from_numpy(np.stack([chosen, rejected], axis=1)).float().view(-1, examples)
    labels = torch.from_numpy(np.stack([~flipped, flipped], axis=1)).view(-1, examples)

    def loss(logps: Tensor, counts: Tensor, index: np.ndarray) -> Tensor:
        policy = _scores(logps, counts, normalize).view(-1, examples)
        return losses.kto(
            policy,
            anchors[index].to(policy.device),
            labels[index].to(policy.device),
            beta=settings.beta,
            target_kl=settings.kto.target_kl,
        ).sum(1)

    unit = "pairs" if together else "examples"
    return Objective(unit, items, np.full(len(items), float(examples)), loss, examples)


OBJECTIVES = {"dpo": dpo, "kto": kto}


def flips(pairs: int, share: float, seed: int) -> np.ndarray:
    """Which training labels `train.label_noise` swaps, (pairs,) booleans.

    Exactly round(share x pairs), drawn so that a smaller share flips a subset of a larger one.
    """
    flipped = np.zeros(pairs, dtype=bool)
    order = np.random.default_rng([seed, *b"label_noise"]).permutation(pairs)
    flipped[order[: round(share * pairs)]] = True
    return flipped


def _scores(logps: Tensor, counts: Tensor, normalize: bool) -> Tensor:
    return logps / counts if normalize else logps
