"""What attention has to know of a packed batch, in the two ways in which it is computed."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from preference.model.attention.varlen import Sequences

PADDING = -1  # segment of positions that only fill up
# A CPU's products are compiled anew for every size.
FILLED = 16


class Span(NamedTuple):
    """A row of a packed batch.

    Attributes:
        tokens: positions that it takes.
        bias: float32, what attention adds to the scores: 0 where a position may look, else minus
            infinity. None where it may look at all before it. (tokens, tokens), filled up to a
            multiple of `FILLED` by positions that nothing looks at.
    """

    tokens: int
    bias: Tensor | None


@dataclass(frozen=True)
class Packing:
    """Rows that lie end to end.

    Attributes:
        segments: (tokens,); 0 prompt, from 1 on the row's responses, or `PADDING`.
        lengths: positions that each row takes.
        shared: whether some row holds more than one response.
        sequences: the same for a GPU's kernel, where the device has it.
    """

    segments: Tensor
    lengths: tuple[int, ...]
    shared: bool
    sequences: Sequences | None = None

    @cached_property
    def spans(self) -> list[Span]:
        """Row by row, made when the first layer asks."""
        return [
            Span(len(row), _bias(row) if self.shared else None)
            for row in self.segments.split(self.lengths)
        ]


def filling(tokens: int) -> int:
    """Positions that so many lack to a multiple of `FILLED`."""
    return -tokens % FILLED


def _bias(segments: Tensor) -> Tensor:
    """Where the positions of one row may look, as what is added to its scores."""
    segments = F.pad(segments, (0, filling(len(segments))), value=PADDING)
    prompt = int((segments == 0).sum())
    bias = torch.full((len(segments),) * 2, -torch.inf, device=segments.device).triu_(1)
    start = prompt
    # What fills up comes last, and is as a response.
    for end in segments.unique_consecutive(return_counts=True)[1].cumsum(0).tolist():
        if end > prompt:
            bias[start:end, prompt:start] = -torch.inf
            start = end
    return bias
