"""Model and batch to the responses' log-probabilities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from preference.model import batches, checks, layers, loading
from preference.model.attention import rows
from preference.model.batches import Batch, Layout
from preference.model.logits import token_logps
from preference.runtime import processes
from preference.runtime.session import Session
from preference.store import checksums
from preference.store.examples import Examples, Index, Ragged

PROBE_TOKENS = 64


@dataclass(frozen=True)
class Abilities:
    """Which shortcuts give this model's own numbers (see `probe`).

    Attributes:
        layout: how rows are laid out; responses share their prompt in all but `plain`.
        bare_output: its logits are the output layer of the base model's hidden states and no
            more, so they can be had for the scored positions alone.
    """

    layout: Layout
    bare_output: bool


class ResponseLogps(nn.Module):
    """A causal language model seen as a function from batches to log-probabilities.

    A module, so that distribution and mixed precision can wrap the whole computation.

    Args:
        base_model: which model its training began with, as far as is known.
    """

    def __init__(
        self, model: PreTrainedModel, abilities: Abilities, base_model: str = "unknown"
    ) -> None:
        super().__init__()
        self.model = model
        self.abilities = abilities
        self.base_model = base_model
        if abilities.layout == "packed":
            model.set_attn_implementation(rows.NAME)

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


def open_model(
    directory: Path, longest: int, session: Session, *, to_train: bool = False
) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it.

    Args:
        longest: tokens of the longest sequence that it will see.
        to_train: leave it to `training.loop.fit` to divide the weights among processes.
    """
    checksums.require_undamaged(directory)
    accelerator = session.accelerator
    model = loading.load(directory).to(accelerator.device)
    checks.require_length(model, longest)
    if to_train:
        # What is asked of the model after its training is refused before.
        new_tokens = session.params.samples.max_new_tokens
        checks.require_room(model, new_tokens, "samples.max_new_tokens")
    if session.runtime.gradient_checkpointing:
        layers.checkpoint_gradients(model)
    abilities = processes.agreed(accelerator, probe(model, longest))
    scorer = ResponseLogps(model, abilities, loading.origin(directory))
    return scorer if to_train else processes.divided(accelerator, scorer)


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


def _random_pair(model: PreTrainedModel, length: int) -> Examples:
    generator = np.random.default_rng(0)
    vocabulary = model.get_input_embeddings().num_embeddings
    response = max(1, min(PROBE_TOKENS // 2, length // 2))
    prompt = length - response
    prompts, responses = (
        Ragged.of(generator.integers(vocabulary, size=sum(n), dtype=np.int32), np.array(n))
        for n in ((prompt,), (response, response))
    )
    zero, ones = np.zeros(1, dtype=np.int64), np.ones(2, dtype=np.int64)
    index = Index(zero, np.repeat(zero, 2), np.array([[0, 1]]), -ones, ones)
    return Examples(index, prompts, responses, prompt * ones)


def _same(
    model: PreTrainedModel,
    trusted: tuple[Examples, Abilities],
    tried: tuple[Examples, Abilities],
) -> bool:
    try:
        expected, found = (
            ResponseLogps(model, abilities)(
                batches.make(pair, [np.arange(2)], abilities.layout).to(model.device)
            )
            for pair, abilities in (trusted, tried)
        )
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
