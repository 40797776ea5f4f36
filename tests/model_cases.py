"""Tiny models and their directories, for tests of what is saved and loaded."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from preference.core.params import Model, Scratch
from preference.data.sources import demo
from preference.model.base import create_base

SIZE = Scratch(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=300)


def gpt2(vocabulary: int = 48) -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=2,
            n_head=2,
            n_embd=8,
            n_positions=32,
            vocab_size=vocabulary,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
            vocab_size=48,
        )
    )


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def assert_same_weights(one: PreTrainedModel, other: PreTrainedModel) -> None:
    expected, found = weights(one), weights(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def change_json(path: Path, **values: object) -> None:
    """Set keys of a JSON file; None removes one."""
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def make_base(out: Path, seed: int = 1, size: Scratch = SIZE) -> Path:
    """What `model.base: scratch` makes."""
    create_base(Model(base="scratch", revision=None, scratch=size), seed, out, demo.texts())
    return out


def make_adapter(base: Path, out: Path, seed: int = 0, **settings: Any) -> Path:
    """A LoRA adapter of a model's directory, as peft saves one, with weights that change much."""
    # Its import is slow, and most tests do without.
    from peft import LoraConfig, get_peft_model

    chosen: dict[str, Any] = {"r": 2, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    config = LoraConfig(**chosen | settings)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(std=0.5)
    adapted.save_pretrained(str(out))
    return out
