"""The output layer's log-probabilities against autograd, whole and in parts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preference.model import cpu, logits

TOKENS, WIDTH, VOCABULARY = 23, 8, 40


def head(bias: bool, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=bias, dtype=dtype)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(TOKENS, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    return states, targets, torch.randn(TOKENS, generator=generator, dtype=dtype)


def expected(layer: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(layer(states), targets, reduction="none")


@pytest.fixture(params=["whole", "parts", "narrow", "recomputed"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the work is divided: 23 tokens, filled up to 24, the vocabulary in parts of 7."""
    monkeypatch.setattr(logits, "MULTIPLE", 4)
    if request.param != "whole":
        monkeypatch.setattr(cpu, "WIDTH", 7)
        monkeypatch.setattr(cpu, "BLOCK", 5 * 7)
    if request.param == "narrow":
        monkeypatch.setattr(logits, "CHUNK", 3 * 24)
    if request.param == "recomputed":
        monkeypatch.setattr(logits, "KEPT", 23 * VOCABULARY)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_autograd(bias: bool) -> None:
    layer, (states, targets, weights) = head(bias), inputs()
    wanted = [states, *layer.parameters()]
    ours = logits.token_logps(layer, states, targets)
    theirs = expected(layer, states, targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(ours, wanted, weights),
        torch.autograd.grad(theirs, wanted, weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("cut")
def test_a_second_backward_pass_gives_the_same() -> None:
    layer, (states, targets, weights) = head(bias=False), inputs()
    found = logits.token_logps(layer, states, targets)
    first = torch.autograd.grad(found, states, weights, retain_graph=True)
    second = torch.autograd.grad(found, states, weights)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_frozen_layer_still_lets_gradients_through() -> None:
    layer, (states, targets, weights) = head(bias=True).requires_grad_(False), inputs()
    found = torch.autograd.grad(logits.token_logps(layer, states, targets), states, weights)
    wanted = torch.autograd.grad(expected(layer, states, targets), states, weights)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)


def test_autocast_computes_products_in_bf16_and_the_rest_in_float32() -> None:
    layer, (states, targets, weights) = head(bias=False, dtype=torch.float32), inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = logits.token_logps(layer, states, targets)
    wide = (states.bfloat16() @ layer.weight.bfloat16().T).float()
    torch.testing.assert_close(found, -F.cross_entropy(wide, targets, reduction="none"))
    found.backward(weights)
    assert states.grad is not None
    assert layer.weight.grad is not None
    assert states.grad.dtype == layer.weight.grad.dtype == torch.float32
    exact = torch.autograd.grad(expected(layer, states, targets), states, weights)[0]
    torch.testing.assert_close(states.grad, exact, rtol=0.05, atol=0.02)
