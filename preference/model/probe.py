"""Which shortcuts give a model's own numbers, found out by trying.

No list of architectures tells it: a sliding window, a bias by distance, a soft-capped or scaled
output would change the numbers silently. On fresh weights they hardly show: attention looks
everywhere alike, and a cap at 30 does nothing to logits of 0.1. A trial enlarges what is small
(see `enlarging`).
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor
from transformers import PreTrainedModel

from preference.core.errors import first_line
from preference.model import differences, enlarging
from preference.model.abilities import COMPILED, OUTPUT, PLAIN, ROWS, Abilities, Scorer
from preference.model.batches import Batch, Layout
from preference.runtime import processes
from preference.store.examples import Examples

SHORT = 32  # tokens of a trial that is not about length
# How far rounding may go, as a share of the largest log-probability. In float32 a shortcut has to
# be the same function: rounding was seen to come to 1e-5, at 80 layers, and windows, caps and
# biases to 3e-3 at least. Autocast rounds each product to 8 bits (bf16) or 11 (fp16), which came to
# 0.03 (bf16, 48 layers): there a trial shows that a shortcut works at all.
ROUNDING = {"no": 5e-5, "bf16": 0.1, "fp16": 0.02}
TRAINED = 5e-4  # at least, for weights from training: a false alarm would cost what it took
# The same of gradients, which came to 6e-5 at 30 layers. Those of enlarged layers are chaotic in
# half precision, where a trial shows that they can be had.
GRADIENTS = {"no": 1e-3, "bf16": math.inf, "fp16": math.inf}
AUTOCAST = processes.HALVES


class _RefusedError(Exception):
    """Why a shortcut is not granted."""


@torch.no_grad()
def choose(
    scorer: Scorer, longest: int, name: str, precision: str = "no", *, gradients: bool = False
) -> Abilities:
    """Find out which shortcuts are exact for a model, and say so; the scorer stays as it is.

    Random tokens are scored with a shortcut, side by side, and without, each response by itself.
    Where the numbers differ by more than rounding, in float32 or in the precision in use, or the
    model refuses, the plain way is taken. Layouts are tried at full length, where a window would
    show: packed where attention has a way for it, a call a row on a CPU or one for all on a GPU,
    else shared.

    Args:
        longest: tokens of the longest sequence that the model will see.
        name: the model's, for the message.
        precision: what autocast will compute in; "no" is float32.
        gradients: whether those of compiled layers are compared, too.
    """
    granted, largest, refused = PLAIN, 0.0, list[str]()
    short, full = (
        differences.random_texts(scorer.model, tokens) for tokens in (min(longest, SHORT), longest)
    )
    device, layouts = scorer.model.device.type, _layouts(scorer.model)
    trials: list[tuple[dict[str, Any], Examples, str, str]] = [
        ({"bare_output": True}, short, OUTPUT, "a soft cap, scaled logits?"),
        *(({"layout": x}, full, ROWS[x], "a window, a bias by distance?") for x in layouts),
    ]
    if scorer.compiled:
        trials.append(({"compiled": True}, full, COMPILED, "an error of the compiler?"))
    try:
        with _evaluating(scorer), enlarging.enlarged(scorer.model, scorer.outputs):
            for change, texts, label, guess in trials:
                if "layout" in change and granted.layout != "plain":
                    continue
                tried = replace(granted, **change)
                try:
                    ways = scorer, texts, granted, tried
                    apart = partial(differences.of_logps, *ways)
                    found = _compare(apart, device, precision, ROUNDING, guess)
                    if tried.compiled and gradients:
                        apart = partial(differences.of_gradients, *ways)
                        _compare(apart, device, precision, GRADIENTS, f"in gradients: {guess}")
                    granted, largest = tried, max(largest, found)
                except _RefusedError as why:
                    refused.append(f"not {label}: {why}")
        if not layouts:
            refused.append(f"not {ROWS['shared']}: its attention is eager")
    except enlarging.ImpossibleError as why:
        refused.append(f"nothing else can be tried: {why}")
    same = f"the model's own numbers to {largest:.0e}" if granted != PLAIN else ""
    logging.info("%s: %s", name, "; ".join(filter(None, [str(granted), same, *refused])))
    return granted


@torch.no_grad()
def changed(scorer: Scorer, run: Callable[[Batch], Tensor], longest: int, precision: str) -> str:
    """What is wrong, if the shortcuts in use are no longer exact; the weights stay as they are.

    Lengths were looked at before the training, and weights do not change what they do.

    Args:
        run: what computes the scorer's forward pass.
        precision: which it does that in.
    """
    granted = scorer.abilities
    if granted == PLAIN:
        return ""
    texts = differences.random_texts(scorer.model, min(longest, SHORT))
    with _evaluating(scorer):
        found = differences.of_logps(scorer, texts, PLAIN, granted, run)
    # Numbers that are not finite are told where they are used.
    return f"differ by {found:.2g}" if found > max(TRAINED, ROUNDING[precision]) else ""


def _layouts(model: PreTrainedModel) -> list[Layout]:
    """Which are worth a trial.

    Eager attention adds its mask to the scores, where a boolean one would be wrong, and other
    attention than the model's own is not asked of a model that asks for it.
    """
    if model.config._attn_implementation == "eager":
        return []
    # Elsewhere a call a row costs more than a mask.
    return ["packed", "shared"] if model.device.type in ("cpu", "cuda") else ["shared"]


@contextmanager
def _evaluating(scorer: Scorer) -> Iterator[None]:
    """Without dropout; afterwards the scorer is as it was."""
    training, abilities = scorer.model.training, scorer.abilities
    scorer.model.eval()
    try:
        yield
    finally:
        scorer.take(abilities)
        scorer.model.train(training)


def _compare(
    apart: Callable[[], float],
    device: str,
    precision: str,
    limits: Mapping[str, float],
    guess: str,
) -> float:
    """How far two ways are apart in float32, where that and what it is in `precision` is rounding.

    Raises:
        _RefusedError: they are more, or the model takes no such inputs.
    """
    found = []
    for kind in dict.fromkeys(["no", precision]):
        dtype = AUTOCAST.get(kind)
        try:
            with torch.autocast(device, dtype, cache_enabled=False) if dtype else nullcontext():
                found.append(apart())
        # How models and their attention say that they do not know an argument or a shape.
        except (RuntimeError, TypeError, ValueError) as error:
            if should_reduce_batch_size(error):
                raise
            raise _RefusedError(first_line(error)) from None
        if not found[-1] <= limits[kind]:
            under = "" if kind == "no" else f" in {kind}"
            raise _RefusedError(f"differ by {found[-1]:.2g}{under} ({guess})")
    return found[0]
