"""Distances between two ways to run a model, against sums by hand."""

from collections.abc import Callable
from typing import Any

import naive
import pytest
import torch
from accelerate import Accelerator
from scorers import PACKED
from torch import Tensor

from preference.model import batches, compiled, differences
from preference.model.abilities import PLAIN, Abilities
from preference.model.batches import Batch
from preference.model.scorer import ResponseLogps

Form = Callable[..., Any]
Change = Callable[[Form], Form]

COMPILED = Abilities("packed", bare_output=True, compiled=True)


class Halved(torch.autograd.Function):
    """The same value, of which the gradient is half."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] / 2


def halved(plain: Form) -> Form:
    return lambda *args, **kwargs: Halved.apply(plain(*args, **kwargs))  # type: ignore[no-untyped-call]


def scorer(first: Change | None = None, last: Change | None = None) -> ResponseLogps:
    """One with three layers, whose compiled form is the plain one, changed in two of them."""
    model = naive.llama(layers=3)
    made = compiled.layers(model, Accelerator(cpu=True))
    changes = [first, None, last]
    for layer, change in zip(made, changes, strict=True):
        layer._compiled = change(layer._plain) if change else layer._plain
    return ResponseLogps(model, PACKED, compiled=made)


def test_gradients_are_compared_where_log_probabilities_tell_nothing() -> None:
    ours = scorer(last=halved)
    texts = differences.random_texts(ours.model, 20)
    with torch.no_grad():
        assert differences.of_logps(ours, texts, PACKED, COMPILED) < 1e-5
        # All of it goes through the last layer.
        assert differences.of_gradients(ours, texts, PACKED, COMPILED) == pytest.approx(0.5)
        assert differences.of_gradients(ours, texts, PACKED, PACKED) == 0
    assert all(weight.grad is None for weight in ours.parameters())


def test_a_share_of_the_norm_of_both_layers_gradients() -> None:
    ours = scorer(first=halved)
    texts = differences.random_texts(ours.model, 20)
    logps = ours(batches.make(texts, list(texts.index.pairs), "packed"))
    torch.autograd.backward(logps @ torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    first, last = (
        sum(float(w.grad.square().sum()) for w in layer.module.parameters() if w.grad is not None)
        for layer in (ours.compiled[0], ours.compiled[-1])
    )
    found = differences.of_gradients(ours, texts, PACKED, COMPILED)
    assert found == pytest.approx((first / 4 / (first + last)) ** 0.5, rel=1e-4)


def test_what_is_not_finite_as_it_is_tells_no_difference() -> None:
    ours = scorer(last=halved)
    torch.nn.init.constant_(ours.model.get_output_embeddings().weight, torch.inf)
    texts = differences.random_texts(ours.model, 20)
    assert differences.of_gradients(ours, texts, PACKED, COMPILED) == 0


@pytest.mark.parametrize("longest", [1, 2, 9, 40])
def test_responses_side_by_side_and_each_by_itself(longest: int) -> None:
    ours = scorer()
    texts = differences.random_texts(ours.model, longest)
    assert max(texts.prompt_tokens + texts.responses.lengths) <= max(2, longest)

    def larger(batch: Batch) -> Tensor:
        logps: Tensor = ours(batch)
        return logps * (1.25 if ours.abilities == PACKED else 1)

    with torch.no_grad():
        assert differences.of_logps(ours, texts, PLAIN, PACKED) < 1e-5
        found = differences.of_logps(ours, texts, PLAIN, PACKED, larger)
    assert found == pytest.approx(0.25, rel=1e-4)
