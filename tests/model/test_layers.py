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
