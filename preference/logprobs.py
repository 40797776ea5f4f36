"""Model and batch to the responses' log-probabilities."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from preference import batches
from preference.batches import Batch
from preference.tables import Pairs, Ragged

# Rows of (scored tokens, vocabulary) at a time where no gradient is needed.
CHUNK = 1024
PROBE_TOKENS = 64


@dataclass(frozen=True)
class Abilities:
    """Which of the two shortcuts give this model's own numbers (see `probe`).

    Attributes:
        shared_prompts: it takes a custom mask and positions, so a pair can be one sequence.
        bare_output: its logits are the output layer of the base model's hidden states and no
            more, so they can be had for the scored positions alone.
    """

    shared_prompts: bool
    bare_output: bool


class ResponseLogps(nn.Module):
    """A causal language model seen as a function from batches to log-probabilities.

    A module, so that distribution and mixed precision can wrap the whole computation.
    """

    def __init__(self, model: PreTrainedModel, abilities: Abilities) -> None:
        super().__init__()
        self.model = model
        self.abilities = abilities

    def forward(self, batch: Batch) -> Tensor:
        """Summed log-probability of each response, in nats; (responses,), float32 or better."""
        inputs = batch.model_inputs()
        if self.abilities.bare_output:
            hidden = self.model.base_model(**inputs, use_cache=False).last_hidden_state
            head = self.model.get_output_embeddings()
        else:
            hidden = self.model(**inputs, use_cache=False).logits
            head = nn.Identity()
        scored = hidden.flatten(0, 1)[batch.predicted_from]
        size = len(scored) if torch.is_grad_enabled() else CHUNK
        token_logps = [
            -F.cross_entropy(_at_least_float32(head(states)), targets, reduction="none")
            for states, targets in zip(
                torch.split(scored, size), torch.split(batch.targets, size), strict=True
            )
        ]
        sums = token_logps[0].new_zeros(len(batch.counts))
        return sums.index_add(0, batch.response, torch.cat(token_logps))


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def probe(model: PreTrainedModel, longest: int) -> Abilities:
    """Find out by trying whether the shortcuts are exact for this model.

    No list of architectures tells it: a sliding window, a bias by distance, a soft-capped or
    scaled output would change the numbers silently. Random tokens are scored with and without
    each shortcut; where the results differ by more than rounding, or the model refuses, the plain
    way is taken. The custom mask is tried at full length, where a sliding window would show.

    Args:
        longest: tokens of the longest sequence that the model will see.
    """
    plain = Abilities(shared_prompts=False, bare_output=False)
    bare = Abilities(shared_prompts=False, bare_output=True)
    training = model.training
    model.eval()
    try:
        short = _random_pair(model, min(longest, PROBE_TOKENS))
        bare_output = _same(model, (short, plain), (short, bare))
        found = bare if bare_output else plain
        full = _random_pair(model, longest)
        shared = Abilities(shared_prompts=True, bare_output=bare_output)
        # Eager attention adds its mask to the scores, where a boolean one would be wrong.
        takes_mask = model.config._attn_implementation != "eager"
        return Abilities(takes_mask and _same(model, (full, found), (full, shared)), bare_output)
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
                batches.make(pairs, [batches.Item(0, batches.BOTH)], abilities.shared_prompts).to(
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
