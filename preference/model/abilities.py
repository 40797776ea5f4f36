"""Which shortcuts a model is run with, and what can be run with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transformers import PreTrainedModel

from preference.model.batches import Batch, Layout
from preference.model.compiled import Layer

ROWS: dict[Layout, str] = {
    "plain": "plain rows",
    "shared": "shared prompts",
    "packed": "packed rows",
}
OUTPUT = "output layer at scored positions only"
COMPILED = "compiled layers"


@dataclass(frozen=True)
class Abilities:
    """Which shortcuts give this model's own numbers (see `probe`).

    Attributes:
        layout: how rows are laid out; responses share their prompt in all but `plain`.
        bare_output: its logits are the output layer of the base model's hidden states and no
            more, so they can be had for the scored positions alone.
        compiled: its layers run compiled (see `compiled`).
    """

    layout: Layout
    bare_output: bool
    compiled: bool = False

    def __str__(self) -> str:
        output = OUTPUT if self.bare_output else "all logits"
        return f"{ROWS[self.layout]}, {output}" + f", {COMPILED}" * self.compiled


PLAIN = Abilities("plain", bare_output=False)


class Scorer(Protocol):
    """A `scorer.ResponseLogps`."""

    model: PreTrainedModel
    abilities: Abilities
    compiled: Sequence[Layer]

    def take(self, abilities: Abilities) -> None: ...

    def __call__(self, batch: Batch) -> Any: ...

    def outputs(self, **inputs: Any) -> Any: ...
