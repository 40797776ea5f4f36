"""What a config says against what a model is: each disagreement under its own name."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model_cases import change_json, gpt2, llama
from safetensors.torch import load_file, save_file
from sessions import make as session
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3Config,
    GPT2Config,
    MptConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from preference.core.errors import InputError
from preference.model import checks, loading, scorer

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 48}
TEXT = SMALL | {"num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 8}
MPT = {"d_model": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 48, "max_seq_len": 32}


def mpt() -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(MptConfig(**MPT))


def refuse(directory: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loading.load(directory)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(n_positions=33), 33),
        (OPTConfig(max_position_embeddings=33), 33),
        (MptConfig(**MPT), 32),
        (Gemma3Config(text_config=TEXT | {"max_position_embeddings": 33}), 33),
        (BloomConfig(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_positions_are_found_under_each_name(
    config: PreTrainedConfig, expected: int | None
) -> None:
    assert checks.positions(config) == expected


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (gpt2, "n_positions"),
        (llama, "max_position_embeddings"),
        (
            lambda: AutoModelForCausalLM.from_config(MptConfig(**MPT | {"max_seq_len": 32})),
            "max_seq_len",
        ),
    ],
)
def test_sequences_must_fit_the_positions(make: Callable[[], PreTrainedModel], key: str) -> None:
    model = make()
    checks.require_length(model, 32)
    message = rf"up to 33 tokens, .* takes 32 at most \({key} in .* data\.max_length to 32"
    with pytest.raises(InputError, match=message):
        checks.require_length(model, 33)


def test_answers_must_leave_room_for_a_prompt() -> None:
    checks.require_room(gpt2(), 31, "--some")
    with pytest.raises(InputError, match=r"--some: 32 new tokens leave no room .* takes 32 tokens"):
        checks.require_room(gpt2(), 32, "--some")
    bloom = BloomConfig(hidden_size=8, n_layer=1, n_head=2, vocab_size=48)
    checks.require_room(AutoModelForCausalLM.from_config(bloom), 10**6, "--some")


def test_answers_that_will_not_fit_are_refused_before_training(saved: Path) -> None:
    run = session()
    samples = run.params.samples.model_copy(update={"max_new_tokens": 32})
    run.params = run.params.model_copy(update={"samples": samples})
    with pytest.raises(InputError, match=r"samples\.max_new_tokens: 32 new tokens leave no room"):
        scorer.open_model(saved, 16, run, to_train=True)
    # Who only scores asks for no answers.
    scorer.open_model(saved, 16, run)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_numbers_are_named(saved: Path, value: float) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["transformer.h.1.ln_2.weight"][3] = value
    save_file(tensors, saved / "model.safetensors", metadata={"format": "pt"})
    refuse(saved, r"saved: 1 of the 8 weights in transformer\.h\.1\.ln_2\.weight are NaN or infin")


def test_large_weights_are_numbers() -> None:
    model = gpt2()
    with torch.no_grad():
        model.transformer.wte.weight.fill_(3e38)
    checks.require_finite(model, Path("x"))


def two_matrices(directory: Path) -> torch.Tensor:
    """Store an output layer of its own beside the embedding."""
    tensors = load_file(directory / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return tensors["lm_head.weight"]


def test_two_matrices_where_the_config_says_one_are_refused(saved: Path) -> None:
    head = two_matrices(saved)
    refuse(
        saved,
        r"saved/config\.json: tie_word_embeddings is true .* stored lm_head\.weight and "
        r"transformer\.wte\.weight differ; .* set tie_word_embeddings to false",
    )
    change_json(saved / "config.json", tie_word_embeddings=False)
    assert torch.equal(loading.load(saved).lm_head.weight, head)


def test_one_matrix_stored_twice_is_one(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, saved / "model.safetensors", metadata={"format": "pt"})
    found = loading.load(saved)
    assert found.lm_head.weight is found.transformer.wte.weight


def test_a_config_that_asks_for_a_second_matrix_that_is_not_stored_is_refused(saved: Path) -> None:
    change_json(saved / "config.json", tie_word_embeddings=False)
    refuse(saved, r"weights are missing \(lm_head\.weight\)")


def test_shapes_that_differ_are_named(saved: Path) -> None:
    change_json(saved / "config.json", vocab_size=50)
    refuse(
        saved,
        r"config\.json and weights disagree: transformer\.wte\.weight is stored with shape "
        r"\(48, 8\), and by config\.json it has \(50, 8\)",
    )


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_padding_token_beyond_the_vocabulary_is_refused(
    make: Callable[[], PreTrainedModel], tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    change_json(tmp_path / "config.json", pad_token_id=48)
    refuse(tmp_path, r"config\.json: pad_token_id is 48, and the model has 48 embeddings")
    change_json(tmp_path / "config.json", pad_token_id=47)
    loading.load(tmp_path)


def test_other_tokens_beyond_the_vocabulary_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"eos_token_id": [3, 48], "text_config": {"bos_token_id": 50}}')
    with caplog.at_level(logging.WARNING):
        checks.warn_of_ids(config, 48)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(f"{config}: eos_token_id is 48, and the model has 48 embeddings")
    assert said[1].startswith(f"{config}: text_config.bos_token_id is 50")
