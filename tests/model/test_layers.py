"""What makes layers faster leaves the function as it is."""

from pathlib import Path

import pytest
import torch
from model_cases import gpt2
from torch import nn
from transformers.activations import ACT2FN

from preference.model import layers, loading


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast", "gelu_accurate"])
def test_fused_gelu_is_the_same_function(name: str) -> None:
    spelled = ACT2FN[name]
    assert isinstance(spelled, layers.TANH_GELUS)
    x = torch.linspace(-8, 8, 10_001, dtype=torch.float64, requires_grad=True)
    fused = nn.GELU(approximate="tanh")
    torch.testing.assert_close(fused(x), spelled(x), rtol=1e-9, atol=1e-9)
    ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (fused, spelled))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_loaded_model_has_the_fused_form(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    kinds = {type(m) for m in loading.load(tmp_path).modules()}
    assert nn.GELU in kinds
    assert not kinds & set(layers.TANH_GELUS)


def test_widened_layers_keep_their_function_on_rounded_weights() -> None:
    """Weights of which each is 1 + 2**-9 or 2**-9 are 1 or 2**-9 in bf16."""
    model, ids = gpt2(), torch.arange(8)[None]
    states: list[torch.Tensor] = []
    model.transformer.ln_f.register_forward_hook(lambda _, __, found: states.append(found))
    layers.widen(model)
    norm = model.transformer.h[0].ln_1
    x = torch.randn(3, 8)
    expected = nn.functional.layer_norm(x, (8,), torch.ones(8), torch.full((8,), 2**-9))
    with torch.no_grad():
        norm.weight.fill_(1 + 2**-9)
        norm.bias.fill_(2**-9)
        assert not torch.equal(norm(x), expected)
        model.bfloat16()
        assert torch.equal(norm(x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=ids)
    assert states[0].dtype == torch.float32
