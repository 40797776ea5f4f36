"""GGUF files: the model that they were written from, by transformers and by llama.cpp."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_cases
import numpy as np
import pytest
import torch
from gguf_cases import TOKENS, LlamaCpp
from model_cases import change_json
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from preference.core.errors import InputError
from preference.core.params import Model
from preference.model import base, loading
from preference.model.tokenizer import PROBES
from tools import to_gguf

TEXTS = (*PROBES, "<|im_start|>user\n<think>12 + 7</think><|im_end|><|endoftext|>")
MAKE: dict[str, Callable[[Path], Path]] = {
    "gpt2": gguf_cases.make_gpt2,
    "llama": gguf_cases.make_llama,
}


@pytest.fixture(scope="module", params=MAKE)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each kind; not to be changed."""
    return MAKE[request.param](tmp_path_factory.mktemp("models") / request.param)


def write(directory: Path, out: Path, dtype: str = "fp32") -> Path:
    to_gguf.write(loading.load(directory), directory, out, "my model", dtype)
    return out


def own(directory: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory).eval()


def read(file: Path, config: Any) -> PreTrainedModel:
    """What transformers make of a file; of GPT-2's positions they know no number but their own."""
    given = {"config": config} if config.model_type == "gpt2" else {}
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, **given
    )
    return model.eval()


def test_transformers_read_the_same_model_and_tokenizer(directory: Path, tmp_path: Path) -> None:
    file, model = write(directory, tmp_path / "m.gguf"), own(directory)
    found = read(file, model.config)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        # They have no rules for digits one by one, and take GPT-2's for all others.
        if directory.name == "gpt2":
            assert theirs(text).input_ids == ids
        with torch.no_grad():
            one, other = (m(torch.tensor([ids])).logits for m in (model, found))
        assert torch.equal(one, other)
    assert (theirs.eos_token, theirs.bos_token) == (tokenizer.eos_token, tokenizer.bos_token)
    assert theirs.chat_template == tokenizer.chat_template


def test_the_pipeline_takes_it_as_a_base(tmp_path: Path) -> None:
    directory = gguf_cases.make_llama(tmp_path / "llama", vocab_size=TOKENS)
    file = write(directory, tmp_path / "m.gguf")
    base.create_base(Model(base=str(file), revision=None), 0, tmp_path / "base", [])
    ids = torch.arange(60).reshape(1, 60)
    assert torch.equal(own(tmp_path / "base")(ids).logits, own(directory)(ids).logits)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_matrices_are_rounded_and_nothing_else_is(
    dtype: str, directory: Path, tmp_path: Path
) -> None:
    model = own(directory)
    found = read(write(directory, tmp_path / "m.gguf", dtype), model.config).state_dict()
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    for name, tensor in model.state_dict().items():
        full = tensor.ndim < 2 or name.endswith(("norm.weight", "wpe.weight"))
        assert torch.equal(found[name], tensor if full else tensor.to(kind).float()), name


def test_untied_embeddings_are_both_written(tmp_path: Path) -> None:
    directory = gguf_cases.make_gpt2(tmp_path / "untied")
    change_json(directory / "config.json", tie_word_embeddings=False)
    model = own(directory)
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    model.save_pretrained(directory)
    found = read(write(directory, tmp_path / "m.gguf"), model.config).state_dict()
    assert torch.equal(found["lm_head.weight"], model.lm_head.weight)
    assert not torch.equal(found["lm_head.weight"], found["transformer.wte.weight"])


def test_rows_of_a_head_stand_in_pairs_that_are_rotated_together() -> None:
    weight = torch.arange(8.0)[:, None]
    assert to_gguf.interleaved(weight, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "another GELU": ("gpt2", {"activation_function": "gelu"}, "activation_function is 'gelu'"),
    "no scale": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
    "a scale by layer": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx is True",
    ),
    "another activation": ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    "biases": ("llama", {"attention_bias": True}, "attention_bias is True"),
    "scaled positions": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        r"rope_parameters\.rope_type is 'linear'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_llama_cpp_has_not_is_refused(case: str, tmp_path: Path) -> None:
    kind, changes, message = REFUSED[case]
    directory = MAKE[kind](tmp_path / kind)
    model = own(directory)
    for key, value in changes.items():
        setattr(model.config, key, value)
    with pytest.raises(InputError, match=rf"{kind}/config\.json: {message}"):
        to_gguf.write(model, directory, tmp_path / "m.gguf", "my model", "fp32")
    assert not (tmp_path / "m.gguf").exists()


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    model = MistralForCausalLM(
        MistralConfig(
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=48,
        )
    )
    with pytest.raises(InputError, match="model_type is 'mistral'; GGUF files are written of gpt2"):
        to_gguf.write(model, tmp_path, tmp_path / "m.gguf", "my model", "fp32")


# Its GELU is a table in half precision: with it in the place of transformers' own, this GPT-2 moves
# by as much.
LIMIT = {"gpt2": 0.02, "llama": 2e-4}


def test_llama_cpp_makes_the_same_ids_and_logits(directory: Path, tmp_path: Path) -> None:
    llama = LlamaCpp(write(directory, tmp_path / "m.gguf"), 192)
    model, tokenizer = own(directory), AutoTokenizer.from_pretrained(directory)
    rows = model.get_input_embeddings().num_embeddings
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        count, found = llama.asked(text, rows)
        assert count == len(ids)
        # To the last digit: of the same ids.
        np.testing.assert_array_equal(found, llama.asked(ids, rows)[1])
        for _ in range(4):
            with torch.no_grad():
                expected = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(0).numpy()
            np.testing.assert_allclose(found, expected, atol=LIMIT[directory.name])
            assert found.argmax() == expected.argmax()
            ids = [*ids, int(found.argmax())]
            found = llama.asked(ids, rows)[1]
