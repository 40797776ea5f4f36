"""Model and batch to the responses' log-probabilities."""

import gc
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from transformers import PreTrainedModel

from preference.core.errors import InputError
from preference.core.optimization import Lora
from preference.model import checks, compiled, directories, layers, loading, lora, probe, shallow
from preference.model.abilities import PLAIN, Abilities
from preference.model.attention import rows
from preference.model.batches import Batch
from preference.model.compiled import Layer
from preference.model.logits import token_logps
from preference.runtime import devices, processes
from preference.runtime.session import Session
from preference.store import checksums


class ResponseLogps(nn.Module):
    """A causal language model seen as a function from batches to log-probabilities.

    A module, so that distribution and mixed precision can wrap the whole computation.

    Args:
        base_model: which model its training began with, as far as is known.
        compiled: the model's layers, where they can run compiled.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        abilities: Abilities,
        base_model: str = "unknown",
        compiled: Sequence[Layer] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.base_model = base_model
        self.compiled = compiled
        self._attention = model.config._attn_implementation
        # Whose weights are gathered together where they are sharded; else all would be at once.
        self._no_split_modules = layers.names(model)
        self.take(abilities)

    def take(self, abilities: Abilities) -> None:
        """Go by these shortcuts from here on."""
        self.abilities = abilities
        by_row = rows.COMPILED if abilities.compiled else rows.NAME
        attention = by_row if abilities.layout == "packed" else self._attention
        if attention != self.model.config._attn_implementation:
            self.model.set_attn_implementation(attention)
        for layer in self.compiled:
            layer.on = abilities.compiled

    def outputs(self, **inputs: Any) -> Any:
        """The language model's own outputs, also where its weights are divided."""
        return self.model(**inputs)

    def forward(self, batch: Batch) -> Tensor:
        """Log-probability of each response, in nats; (responses,), float32 or better.

        The sum over its tokens, weighted where the batch has weights.
        """
        inputs = batch.model_inputs()
        if self.abilities.bare_output:
            hidden = self.model.base_model(**inputs, use_cache=False).last_hidden_state
            scored = hidden.flatten(0, 1)[batch.predicted_from]
            head, fused = self.model.get_output_embeddings(), self.abilities.compiled
            logps = token_logps(head, scored, batch.targets, compiled=fused)
        else:
            logits = self.model(**inputs, use_cache=False).logits
            scored = logits.flatten(0, 1)[batch.predicted_from]
            wide = torch.promote_types(scored.dtype, torch.float32)
            logps = -F.cross_entropy(scored.to(wide), batch.targets, reduction="none")
        if batch.weights is not None:
            logps = logps * batch.weights
        return logps.new_zeros(len(batch.counts)).index_add(0, batch.response, logps)


def open_model(
    directory: Path,
    longest: int,
    session: Session,
    *,
    to_train: bool = False,
    adapters: Lora | None = None,
) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it.

    Args:
        longest: tokens of the longest sequence that it will see.
        to_train: refuse what could not be done with it after its training.
        adapters: train these in place of the model's weights.
    """
    accelerator, where = session.accelerator, f"{session.stage.partition('-')[0]}.lora"
    if adapters:
        lora.require_possible(adapters, accelerator, where)
    # Reading a large model once a host is enough.
    if accelerator.is_local_main_process:
        checksums.require_undamaged(directory)
    opened = partial(_opened, directory, longest, session, to_train, adapters)
    # Adapters are linear, token by token: they change nothing that is tried.
    if adapters and adapters.quantize:
        abilities, scorer = _tried_in_part(directory, longest, session), opened()
    else:
        scorer = opened()
        abilities = _looked_at(scorer, directory, longest, session, to_train)
        if processes.sharded(accelerator):
            # What was divided to be looked at in float32 cannot be divided in another way.
            del scorer
            scorer = opened()
    scorer.take(abilities)
    if adapters:
        lora.inject(scorer.model, adapters, session.params.seed, accelerator, where)
    return processes.divided(accelerator, scorer)


def _opened(
    directory: Path, longest: int, session: Session, to_train: bool, adapters: Lora | None
) -> ResponseLogps:
    """A model as it is in its files, on the device if it is to be whole there."""
    accelerator = session.accelerator
    sharded = processes.sharded(accelerator)
    if sharded or session.runtime.compile:
        # What was divided or compiled before holds itself in circles.
        gc.collect()
    if adapters and adapters.quantize:
        model = lora.load_quantized(directory, accelerator)
    else:
        model = loading.load(directory, mapped=sharded)
        # What is divided goes there in parts.
        model = model if sharded else model.to(accelerator.device)
    checks.require_length(model, longest)
    if to_train:
        # What is asked of the model after its training is refused before.
        new_tokens = session.params.samples.max_new_tokens
        checks.require_room(model, new_tokens, "samples.max_new_tokens")
    made = compiled.layers(model, accelerator) if session.runtime.compile else []
    if session.runtime.gradient_checkpointing:
        layers.checkpoint_gradients(model)
    if sharded:
        layers.widen(model)
    return ResponseLogps(model, PLAIN, directories.origin(directory), made)


def _looked_at(
    scorer: ResponseLogps, directory: Path, longest: int, session: Session, to_train: bool
) -> Abilities:
    """The shortcuts that are exact for a model, and refused if it is not sound.

    Sharded weights are divided for it, in float32, and have gradients only where training has them.
    """
    accelerator = session.accelerator
    if sharded := processes.sharded(accelerator):
        scorer = processes.divided(accelerator, scorer, exactly=True)
        register_fsdp_forward_method(scorer, "outputs")
        loading.require_sound(scorer.model, scorer.outputs, directory, processes.whole)
    return _granted(scorer, longest, str(directory), session, gradients=to_train and not sharded)


def _tried_in_part(directory: Path, longest: int, session: Session) -> Abilities:
    """The same of a model that will have four bits a weight, which cannot be tried in float32."""
    if not session.runtime.shortcuts:
        return PLAIN
    try:
        model = shallow.load(directory)
    except InputError as why:
        logging.warning("%s; no shortcuts are taken", why)
        return PLAIN
    checks.require_length(model, longest)
    model.to(session.accelerator.device)
    layers.fuse_activations(model)
    name = f"{directory}, its first {model.config.num_hidden_layers} layers"
    return _granted(ResponseLogps(model, PLAIN), longest, name, session)


def _granted(
    scorer: ResponseLogps,
    longest: int,
    name: str,
    session: Session,
    *,
    gradients: bool = False,
) -> Abilities:
    if not session.runtime.shortcuts:
        return PLAIN
    precision = session.accelerator.mixed_precision
    found = probe.choose(scorer, longest, name, precision, gradients=gradients)
    found = processes.agreed(session.accelerator, found)
    if found.compiled:
        session.tokens_per_batch = devices.tokens_per_batch(
            session.runtime, session.accelerator, compiled=True
        )
    elif session.runtime.compile:
        why = ": see why above" if scorer.compiled else ""
        logging.warning("%s: runtime.compile: its layers run as they are%s", name, why)
    return found
