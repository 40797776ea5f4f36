"""Distances between two ways to run a model, against sums by hand."""

from collections.abc import Callable

import naive
import pytest
import torch
from accelerate import Accelerator
from scorers import COMPILED, PACKED, with_gradient
from torch import Tensor

from preference.model import batches, compiled, differences
from preference.model.abilities import PLAIN
from preference.model.batches import Batch
from preference.model.scorer import ResponseLogps

Change = Callable[[Tensor], Tensor]


def half(gradient: Tensor) -> Tensor:
    return gradient / 2


def same(gradient: Tensor) -> Tensor:
    return gradient


def scorer(first: Change = same, last: Change = same) -> ResponseLogps:
    """One with three layers; compiled, what goes back through two of them is changed."""
    model = naive.llama(layers=3)
    layers = compiled.layers(model, Accelerator(cpu=True))
    changes = (first, same, last)
    made = [with_gradient(layer, change) for layer, change in zip(layers, changes, strict=True)]
    return ResponseLogps(model, PACKED, compiled=made)


def test_gradients_are_compared_where_log_probabilities_tell_nothing() -> None:
    ours = scorer(last=half)
    texts = differences.random_texts(ours.model, 20)
    with torch.no_grad():
        assert differences.of_logps(ours, texts, PACKED, COMPILED) < 1e-5
        # All of it goes through the last layer.
        assert differences.of_gradients(ours, texts, PACKED, COMPILED) == pytest.approx(0.5)
        assert differences.of_gradients(ours, texts, PACKED, PACKED) == 0
    assert all(weight.grad is None for weight in ours.parameters())


def test_a_share_of_the_norm_of_both_layers_gradients() -> None:
    ours = scorer(first=half)
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
    ours = scorer(last=half)
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
