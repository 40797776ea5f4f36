"""A trained model, saved with its tokenizer and what it came from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator
from model_cases import SIZE, assert_same_weights, contents, gpt2, llama
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from preference.model import base, directories, loading, saving
from preference.model.abilities import Abilities
from preference.model.scorer import ResponseLogps
from preference.store import checksums


def save(model: PreTrainedModel, came_from: Path, out: Path) -> None:
    scorer = ResponseLogps(model, Abilities("plain", bare_output=False))
    saving.save(Accelerator(cpu=True), scorer, came_from, out)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_saved_model_comes_back_the_same(
    tmp_path: Path, make: Callable[[], PreTrainedModel]
) -> None:
    model, out = make(), tmp_path / "out"
    save(model, tmp_path, out)
    assert_same_weights(model, loading.load(out))
    assert_same_weights(model, AutoModelForCausalLM.from_pretrained(out))
    assert not list(out.glob("*.bin"))


def test_a_saved_model_has_the_tokenizer_it_came_with(scratch: Path, tmp_path: Path) -> None:
    save(gpt2(SIZE.vocab_size), scratch, tmp_path / "out")
    found, expected = contents(tmp_path / "out"), contents(scratch)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert found[name] == expected[name]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == base.EOS


def test_saving_replaces_the_earlier_model(saved: Path) -> None:
    (saved / "stale.safetensors").touch()
    save(llama(), saved, saved)
    assert_same_weights(loading.load(saved), llama())
    assert not (saved / "stale.safetensors").exists()


def test_a_saved_model_says_which_base_its_training_began_with(
    scratch: Path, saved: Path, tmp_path: Path
) -> None:
    save(gpt2(SIZE.vocab_size), scratch, tmp_path / "first")
    save(gpt2(SIZE.vocab_size), tmp_path / "first", tmp_path / "second")
    assert directories.origin(tmp_path / "second") == directories.origin(scratch) == "scratch"
    assert directories.origin(saved) == "unknown"
    # What transformers reads is transformers' own.
    plain = json.loads((saved / "config.json").read_text())
    assert json.loads((tmp_path / "second/config.json").read_text()).keys() == plain.keys()


def test_a_saved_model_is_sealed(scratch: Path, tmp_path: Path) -> None:
    save(gpt2(SIZE.vocab_size), scratch, tmp_path / "out")
    assert checksums.differing(tmp_path / "out") == []
    (tmp_path / "out/origin.json").write_text("{}")
    assert checksums.differing(tmp_path / "out") == ["origin.json"]
