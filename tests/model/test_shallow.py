"""A model's first layers, with one of each kind."""

from pathlib import Path
from typing import Any

import naive
import pytest
import sessions
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    PreTrainedModel,
)

from preference.core.errors import InputError
from preference.core.optimization import Lora
from preference.model import loading, lora, scorer, shallow
from preference.store import checksums


@pytest.mark.parametrize(
    ("listed", "layers", "wanted"),
    [
        ({}, 12, 2),
        ({"layer_types": ["full"] * 12}, 12, 2),
        ({"layer_types": ["sliding"] * 5 + ["full"] + ["sliding"] * 6}, 12, 6),
        ({"layer_types": ["full"] * 4, "no_rope_layers": [1, 1, 1, 0]}, 4, 4),
        ({"layer_types": ["full"] * 4, "eos_token_id": [7, 8]}, 4, 2),
        ({}, 1, 1),
    ],
)
def test_how_many_layers_hold_one_of_each_kind(
    listed: dict[str, Any], layers: int, wanted: int
) -> None:
    assert shallow.depth(listed, layers) == wanted


def windowed(window: int) -> Gemma3ForCausalLM:
    """Every third layer sees all, the others a window."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=6, head_dim=16,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=window,
        layer_types=["full_attention", "full_attention", "sliding_attention"] * 2,
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


def neo() -> GPTNeoForCausalLM:
    """Every second layer sees a window; another key says it in another form, too."""
    config = GPTNeoConfig(
        vocab_size=97, hidden_size=32, num_layers=4, num_heads=2, max_position_embeddings=64,
        attention_types=[[["global", "local"], 2]],
    )  # fmt: skip
    return GPTNeoForCausalLM(config)


def test_its_weights_are_those_of_the_whole(tmp_path: Path) -> None:
    whole = windowed(8)
    whole.save_pretrained(tmp_path)
    cut = shallow.load(tmp_path)
    assert cut.config.layer_types == whole.config.layer_types[:3]
    found, expected = cut.state_dict(), whole.state_dict()
    assert len(cut.model.layers) == 3
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_what_cannot_be_cut_is_said(tmp_path: Path) -> None:
    neo().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be cut to 2 layers"):
        shallow.load(tmp_path)


QUANTIZED = Lora(r=2, target_modules="all-linear", quantize="4bit")


def opened(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which shortcuts a model takes that is said to be in four bits, as it can only be on a GPU."""
    monkeypatch.setattr(lora, "require_possible", lambda *_: None)
    monkeypatch.setattr(lora, "load_quantized", lambda place, _: loading.load(place))
    checksums.seal(directory)
    model = scorer.open_model(directory, 48, sessions.make(), to_train=True, adapters=QUANTIZED)
    return str(model.abilities)


@pytest.mark.parametrize(
    ("model", "rows"),
    [(naive.llama(layers=4), "packed rows"), (windowed(64), "shared prompts"),
     (windowed(8), "plain rows"), (neo(), "plain rows")],
    ids=["llama", "window never reached", "window", "neo"],
)  # fmt: skip
def test_shortcuts_of_a_quantized_model_are_tried_on_its_first_layers(
    model: PreTrainedModel, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path)
    assert opened(tmp_path, monkeypatch).startswith(rows)
