"""What an objective visits of a split, and what its loss is given of some of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from preference.core.errors import InputError
from preference.core.params import Train
from preference.objectives.batch import Batch, beside
from preference.objectives.label_noise import flips
from preference.store.index import Index

if TYPE_CHECKING:
    # It takes long to import, and the report needs none.
    from torch import Tensor


# From responses to what they are compared with, of one shape.
Anchors = Callable[[np.ndarray | slice], np.ndarray]


@dataclass(frozen=True)
class Items:
    """Pairs, labelled responses, or these two by two; what there is to know of some of them.

    Attributes:
        index: of the split.
        in_pairs: whether the loss is of pairs.
        responses: of the split, (items, responses of each); those that are in no pair come last.
        flipped: whether the label is swapped, of the pairs, then of responses that are in none.
    """

    index: Index
    in_pairs: bool
    responses: np.ndarray
    flipped: np.ndarray

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def size(self) -> int:
        """Responses of each item."""
        return self.responses.shape[1]

    @staticmethod
    def of(index: Index, settings: Train, seed: int, in_pairs: bool) -> "Items":
        """The items of a split; `train.label_noise` of the labels are swapped.

        Raises:
            InputError: `train.kto.shuffle` asks for pairs, and there are responses in none.
        """
        pairs, noise = index.pairs, settings.label_noise
        by_pairs = in_pairs or settings.kto.shuffle == "pairs"
        single = np.zeros(0, dtype=pairs.dtype) if in_pairs else index.single
        if by_pairs and len(single):
            raise InputError(
                f"train.kto.shuffle: pairs asks for pairs, and {len(single)} labelled responses of "
                "the training data are in none; set it to examples"
            )
        responses = pairs if by_pairs else pairs.reshape(-1, 1)
        if len(single):
            responses = np.append(responses, single[:, None], axis=0)
        flipped = np.append(flips(len(pairs), noise, seed), flips(len(single), noise, seed))
        return Items(index, in_pairs, responses, flipped)

    def _pairs(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether items are of pairs, or of one side of one, and which pairs these are."""
        pair = which // (2 // self.size)
        return pair < len(self.index.pairs), pair

    def desirable(self, which: np.ndarray) -> np.ndarray:
        """Whether each response is, (items, responses of each)."""
        inside, pair = self._pairs(which)
        responses, sides = self.responses[which], which[:, None] * self.size + range(self.size)
        label = np.where(inside, pair, which - len(self.index.pairs))
        said = np.where(inside[:, None], sides % 2 == 0, self.index.labels[responses] == 1)
        return said ^ self.flipped[label][:, None]

    def weights(self, which: np.ndarray) -> np.ndarray | None:
        """How much each loss counts: (items,) of pairs, else (items, responses of each).

        None where all pairs count alike.
        """
        index, (inside, pair) = self.index, self._pairs(which)
        if self.in_pairs:
            return None if index.pair_weights is None else index.pair_weights[pair]
        found = index.weights[self.responses[which]]
        if index.pair_weights is not None:
            found[inside] = index.pair_weights[pair[inside], None]
        return found

    def totals(self, which: np.ndarray) -> np.ndarray:
        """How much each item counts, (items,)."""
        weights = self.weights(which)
        if weights is None:
            return np.ones(len(which))
        return (weights if self.in_pairs else weights.sum(axis=1)).astype(float)

    def batch(
        self,
        logps: "Tensor",
        counts: "Tensor",
        which: np.ndarray,
        anchors: Anchors | None,
        normalize: bool,
    ) -> Batch:
        """What the loss is given of some items.

        Args:
            logps: of their responses, sums in nats, (items x size,).
            counts: how many tokens each is over.
            anchors: what the responses are compared with; None: with 0.
            normalize: whether scores are means over tokens.
        """
        import torch

        desirable = self.desirable(which)
        # Of a pair the loss finds the desirable response first.
        order = (~desirable).astype(int) if self.in_pairs else np.arange(self.size)[None]
        order = np.broadcast_to(order, desirable.shape)
        places = beside(logps, torch.tensor(order))
        scores, sums, tokens = (
            values.view(-1, self.size).gather(1, places)
            for values in (logps / counts if normalize else logps, logps, counts)
        )
        responses = np.take_along_axis(self.responses[which], order, axis=1)
        known = np.zeros(order.shape) if anchors is None else anchors(responses)
        wanted = np.take_along_axis(desirable, order, axis=1)
        reference, labels = (
            beside(logps, torch.from_numpy(v)) for v in (known.astype(np.float32), wanted)
        )
        batch = Batch(scores, reference, labels, sums, tokens)
        margins = self.index.margins if self.in_pairs else None
        return batch if margins is None else batch.asking(margins[which])

    def weighed(self, losses: "Tensor", which: np.ndarray) -> "Tensor":
        """Each item's loss, (items,), as it counts.

        Args:
            losses: of pairs (items,), else (items, responses of each).
        """
        weights = self.weights(which)
        if weights is None:
            return losses
        import torch

        weighed = losses * beside(losses, torch.tensor(weights, dtype=losses.dtype))
        return weighed if self.in_pairs else weighed.sum(1)
