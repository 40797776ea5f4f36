"""What is made large, and that it is undone to the last bit."""

import copy
import math

import naive
import pytest
import torch
from model_cases import gpt2
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from preference.model import enlarging

IDS = torch.arange(24)[None]


def opt() -> PreTrainedModel:
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=97,
            hidden_size=16,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=16,
        )
    ).eval()


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


# One with fresh weights, one with large ones, one whose output layer goes past the base model.
@pytest.mark.parametrize("make", [gpt2, naive.gpt2, naive.llama, opt])
def test_logits_are_spread_and_then_as_before(make: type[PreTrainedModel]) -> None:
    model = make().eval()
    before, weights = logits(model), copy.deepcopy(model.state_dict())
    with torch.no_grad(), enlarging.enlarged(model):
        spread = float(logits(model).std())
    assert enlarging.SPREAD / 2 < spread < enlarging.SPREAD * 2
    assert torch.equal(logits(model), before)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_attention_prefers_some_positions() -> None:
    def sharpness(model: PreTrainedModel) -> float:
        with torch.no_grad():
            (weights, *_) = model(IDS, output_attentions=True, use_cache=False).attentions
        return float(weights[0, :, -1].max(-1).values.mean() * IDS.shape[1])

    model = gpt2().eval()
    model.set_attn_implementation("eager")
    assert sharpness(model) < 1.05
    with torch.no_grad(), enlarging.enlarged(model):
        assert sharpness(model) > 1.5


def test_it_is_undone_bit_for_bit_after_an_error_too() -> None:
    model = gpt2().eval()
    weight = model.transformer.h[0].mlp.c_fc.weight
    tiny = torch.finfo(torch.float32).smallest_normal
    with torch.no_grad():
        weight[0, :4] = torch.tensor([tiny / 2, -tiny / 1024, -0.0, 1e-45])
    before = weight.detach().clone()
    seen = []

    def fail(model: PreTrainedModel) -> None:
        with enlarging.enlarged(model):
            seen.append(torch.equal(weight, before))
            raise KeyError

    with pytest.raises(KeyError), torch.no_grad():
        fail(model)
    assert seen == [False]
    assert torch.equal(weight.view(torch.int32), before.view(torch.int32))
    assert not model.base_model._forward_hooks


def test_a_cap_bites() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=97,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        final_logit_softcapping=30.0,
    )
    model = Gemma2ForCausalLM(config).eval()
    assert logits(model).abs().max() < 1
    with torch.no_grad(), enlarging.enlarged(model):
        assert 29 < logits(model).abs().max() <= 30


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_what_cannot_be_enlarged_is_refused(value: float) -> None:
    model = naive.llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(value)
    with pytest.raises(enlarging.ImpossibleError), torch.no_grad(), enlarging.enlarged(model):
        pass


def test_an_output_layer_that_is_not_linear_is_refused() -> None:
    model = naive.llama()
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(enlarging.ImpossibleError, match="no linear"), enlarging.enlarged(model):
        pass
