"""Model and batch to the responses' log-probabilities."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from preference import attention, batches
from preference.batches import Batch, Layout
from preference.output import token_logps
from preference.tables import Pairs, Ragged

PROBE_TOKENS = 64


@dataclass(frozen=True)
class Abilities:
    """Which shortcuts give this model's own numbers (see `probe`).

    Attributes:
        layout: how rows are laid out; a pair is one row in all but `plain`.
        bare_output: its logits are the output layer of the base model's hidden states and no
            more, so they can be had for the scored positions alone.
    """

    layout: Layout
    bare_output: bool


class ResponseLogps(nn.Module):
    """A causal language model seen as a function from batches to log-probabilities.

    A module, so that distribution and mixed precision can wrap the whole computation.
    """

    def __init__(self, model: PreTrainedModel, abilities: Abilities) -> None:
        super().__init__()
        self.model = model
        self.abilities = abilities
        if abilities.layout == "packed":
            model.set_attn_implementation(attention.NAME)

    def forward(self, batch: Batch) -> Tensor:
        """Summed log-probability of each response, in nats; (responses,), float32 or better."""
        inputs = batch.model_inputs()
        if self.abilities.bare_output:
            hidden = self.model.base_model(**inputs, use_cache=False).last_hidden_state
            scored = hidden.flatten(0, 1)[batch.predicted_from]
            logps = token_logps(self.model.get_output_embeddings(), scored, batch.targets)
        else:
            logits = self.model(**inputs, use_cache=False).logits
            scored = logits.flatten(0, 1)[batch.predicted_from]
            wide = torch.promote_types(scored.dtype, torch.float32)
            logps = -F.cross_entropy(scored.to(wide), batch.targets, reduction="none")
        return logps.new_zeros(len(batch.counts)).index_add(0, batch.response, logps)


@torch.no_grad()
def probe(model: PreTrainedModel, longest: int) -> Abilities:
    """Find out by trying which shortcuts are exact for this model.

    No list of architectures tells it: a sliding window, a bias by distance, a soft-capped or
    scaled output would change the numbers silently. Random tokens are scored with and without
    each shortcut; where the results differ by more than rounding, or the model refuses, the plain
    way is taken. The layouts are tried at full length, where a sliding window would show: packed
    on a CPU, where a call a row costs next to nothing, else shared.

    Args:
        longest: tokens of the longest sequence that the model will see.
    """
    plain, bare = Abilities("plain", bare_output=False), Abilities("plain", bare_output=True)
    training, implementation = model.training, model.config._attn_implementation
    model.eval()
    try:
        short = _random_pair(model, min(longest, PROBE_TOKENS))
        found = bare if _same(model, (short, plain), (short, bare)) else plain
        full = _random_pair(model, longest)
        # Eager attention adds its mask to the scores, where a boolean one would be wrong; so do
        # not ask other attention than the model's own of a model that asks for it.
        layouts: list[Layout] = [] if implementation == "eager" else ["shared"]
        if layouts and model.device.type == "cpu":
            layouts.insert(0, "packed")
        for layout in layouts:
            tried = Abilities(layout, found.bare_output)
            if _same(model, (full, found), (full, tried)):
                return tried
            model.set_attn_implementation(implementation)
        return found
    finally:
        model.train(training)


def _random_pair(model: PreTrainedModel, length: int) -> Pairs:
    generator = np.random.default_rng(0)
    vocabulary = model.get_input_embeddings().num_embeddings
    response = max(1, min(PROBE_TOKENS // 2, length // 2))
    prompt = np.array([length - response])
    parts = [
        generator.integers(vocabulary, size=n, dtype=np.int32)
        for n in (prompt[0], response, response)
    ]
    ids, chosen, rejected = (Ragged(ids, np.array([0, len(ids)])) for ids in parts)
    return Pairs(np.zeros(1, dtype=np.int64), ids, chosen, rejected, prompt, prompt)


def _same(
    model: PreTrainedModel,
    trusted: tuple[Pairs, Abilities],
    tried: tuple[Pairs, Abilities],
) -> bool:
    try:
        expected, found = (
            ResponseLogps(model, abilities)(
                batches.make(pairs, [batches.Item(0, batches.BOTH)], abilities.layout).to(
                    model.device
                )
            )
            for pairs, abilities in (trusted, tried)
        )
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
