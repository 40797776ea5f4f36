"""What an objective visits of a split, and what its loss is given of some of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from preference.core.errors import InputError
from preference.core.params import Train
from preference.objectives.batch import Batch, beside
from preference.objectives.label_noise import flips
from preference.store.examples import Index

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


@dataclass(frozen=True)
class Items:
    """Pairs, labelled responses, or these two by two.

    Attributes:
        in_pairs: whether the loss is of pairs.
        size: responses of each item.
        responses: of the split, item by item, (items x size,).
        order: where the loss finds each of an item's responses, (items, size): of a pair the
            chosen one first.
        desirable: whether each response is, in that order, (items, size).
        weights: how much each loss counts, (items,) of pairs and else (items, size); None where
            all pairs count alike.
        ahead: the margins that data ask for, (items,); None where they do not.
    """

    in_pairs: bool
    size: int
    responses: np.ndarray
    order: "Tensor"
    desirable: "Tensor"
    weights: "Tensor | None" = None
    ahead: "Tensor | None" = None

    def __len__(self) -> int:
        return len(self.order)

    @staticmethod
    def of(index: Index, settings: Train, seed: int, in_pairs: bool) -> "Items":
        """The items of a split; `train.label_noise` of the labels are swapped.

        Raises:
            InputError: `train.kto.shuffle` asks for pairs, and there are responses in none.
        """
        import torch

        size = 2 if in_pairs or settings.kto.shuffle == "pairs" else 1
        responses, desirable = _labelled(index, settings, seed, in_pairs)
        wanted = torch.from_numpy(desirable).view(-1, size)
        order = (~wanted).long() if in_pairs else torch.arange(size).expand(wanted.shape)
        wanted = wanted.gather(1, order)
        if in_pairs:
            given = (index.pair_weights, index.margins)
            weights, ahead = (None if v is None else torch.from_numpy(v) for v in given)
            return Items(in_pairs, size, responses, order, wanted, weights, ahead)
        counted = index.weights[responses]
        if index.pair_weights is not None:
            sides = 2 * len(index.pairs)
            counted = np.append(np.repeat(index.pair_weights, 2), counted[sides:])
        return Items(
            in_pairs, size, responses, order, wanted, torch.from_numpy(counted).view(-1, size)
        )

    @property
    def totals(self) -> np.ndarray:
        """How much each item counts, (items,)."""
        if self.weights is None:
            return np.ones(len(self))
        summed = self.weights if self.in_pairs else self.weights.sum(1)
        return summed.double().numpy()

    def anchors(self, scores: np.ndarray | None) -> "Tensor":
        """What the responses are compared with, (items, size); 0 where there are no scores.

        Args:
            scores: (responses of the split,).
        """
        import torch

        if scores is None:
            return torch.zeros(self.order.shape)
        known = torch.from_numpy(scores.astype(np.float32)[self.responses])
        return known.view(-1, self.size).gather(1, self.order)

    def batch(
        self,
        logps: "Tensor",
        counts: "Tensor",
        index: np.ndarray,
        anchors: "Tensor",
        normalize: bool,
    ) -> Batch:
        """What the loss is given of the items `index`.

        Args:
            logps: of their responses, sums in nats, (items of the batch x size,).
            counts: how many tokens each is over.
            anchors: of all items.
            normalize: whether scores are means over tokens.
        """
        order, known, wanted = (
            beside(logps, values[index]) for values in (self.order, anchors, self.desirable)
        )
        scores, sums, tokens = (
            values.view(-1, self.size).gather(1, order)
            for values in (logps / counts if normalize else logps, logps, counts)
        )
        ahead = 0.0 if self.ahead is None else beside(logps, self.ahead[index])
        return Batch(scores, known, wanted, sums, tokens, ahead=ahead)

    def weighed(self, losses: "Tensor", index: np.ndarray) -> "Tensor":
        """Each item's loss, (items of the batch,), as it counts.

        Args:
            losses: of pairs (items of the batch,), else (items of the batch, size).
        """
        if self.weights is None:
            return losses
        weighed = losses * beside(losses, self.weights[index])
        return weighed if self.in_pairs else weighed.sum(1)


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
