"""Gradients added in place against autograd's."""

import copy
from collections.abc import Callable

import naive
import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from preference.model import batches, cpu
from preference.model.abilities import Abilities
from preference.model.scorer import ResponseLogps
from preference.store.examples import Examples


def padded() -> PreTrainedModel:
    """A Llama whose embedding leaves the gradient of a padding token out, with tied weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **naive.LLAMA_SIZE, max_position_embeddings=64, pad_token_id=3, tie_word_embeddings=True
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def pairs() -> Examples:
    return naive.make_pairs(naive.random_texts(6), max_length=40)


def leave(model: PreTrainedModel, pairs: Examples, bare: bool) -> dict[str, torch.Tensor]:
    """Gradients of two micro-batches, by parameter."""
    scorer = ResponseLogps(model, Abilities("packed", bare))
    for part in (pairs.index.pairs[:4], pairs.index.pairs[4:]):
        batch = batches.make(pairs, list(part), "packed")
        scorer(batch).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("made", [naive.gpt2, naive.llama, padded])
def test_gradients_are_autograds(
    made: Callable[[], PreTrainedModel],
    bare: bool,
    pairs: Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "ROWS", 10)
    monkeypatch.setattr(cpu, "WIDTH", 32)
    plain = made().double()
    ours = copy.deepcopy(plain)
    cpu.accumulate_in_place(ours, Accelerator(cpu=True))
    expected, found = leave(plain, pairs, bare), leave(ours, pairs, bare)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)
    # Another step begins with nothing.
    cpu.clear(ours.parameters())
    marked = [p for p in ours.parameters() if cpu.in_place(p)]
    assert len(marked) == (2 if made is naive.llama else 1)
    assert all(p.grad is not None and not p.grad.any() for p in marked)
    assert all(p.grad is None for p in ours.parameters() if not cpu.in_place(p))
    again = leave(ours, pairs, bare)
    for name, gradient in found.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=0, msg=name)


def test_the_gradient_stays_where_it_is(pairs: Examples) -> None:
    model = naive.gpt2()
    cpu.accumulate_in_place(model, Accelerator(cpu=True))
    weight = model.get_input_embeddings().weight
    before = weight.grad
    leave(model, pairs, bare=True)
    cpu.clear(model.parameters())
    leave(model, pairs, bare=True)
    assert weight.grad is before


def test_frozen_weights_stay_without_gradients(pairs: Examples) -> None:
    model = naive.gpt2()
    model.get_input_embeddings().weight.requires_grad_(False)
    cpu.accumulate_in_place(model, Accelerator(cpu=True))
    found = leave(model, pairs, bare=True)
    assert found
    assert "transformer.wte.weight" not in found
