"""Gradients added in place against autograd's; attention written out against the kernel's."""

import copy
from collections.abc import Callable
from typing import Any

import naive
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from preference.model import batches, cpu
from preference.model.probe import Abilities
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


def tensors(tokens: int, heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, n, tokens, 4, requires_grad=True) for n in (heads, 2, 2))
    return q, k, v


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("long", "heads"), [(6, 2), (5, 2), (6, 6)])
def test_attention_written_out_is_that_of_the_kernel(
    biased: bool, long: int, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "LONG", long)
    q, k, v = tensors(6, heads)
    bias = torch.full((6, 6), -torch.inf).triu_(1)
    bias[4:, 1:4] = -torch.inf
    given = bias if biased else None
    theirs = F.scaled_dot_product_attention(
        q, k, v, attn_mask=given, is_causal=not biased, scale=0.7, enable_gqa=True
    )
    ours = cpu.attention(q, k, v, given, 0.7)
    torch.testing.assert_close(ours, theirs)
    direction = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, (q, k, v), direction),
        torch.autograd.grad(theirs, (q, k, v), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_it_is_taken_for_bf16_on_a_cpu_where_weights_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q, k, v = tensors(6, heads=6)
    half = v.bfloat16()
    # Rotary queries and keys are in float32 under autocast.
    assert cpu.has_slow_attention(q, k, half)
    assert not cpu.has_slow_attention(q, k, v)
    assert not cpu.has_slow_attention(q[:, :5], k, half)
    found = cpu.attention(q, k, half, None, None)
    assert found.dtype == torch.bfloat16
    monkeypatch.setattr(cpu, "LONG", 5)
    assert not cpu.has_slow_attention(q, k, half)
    assert cpu.has_slow_attention(q[:, :2], k, half)


@pytest.mark.parametrize("long", [6, 5])
def test_weights_of_a_long_row_do_not_wait_for_the_backward_pass(
    long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "LONG", long)
    out = cpu.attention(*tensors(6), None, 1.0)
    node: Any = out.grad_fn
    saved = [tensor.shape for tensor in node.saved_tensors if tensor is not None]
    assert ((1, 2, 6, 6) in saved) == (long == 6)
