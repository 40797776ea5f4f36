"""Models in directories: loaded, and refused when they are not what they should be."""

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model_cases import (
    assert_same_weights,
    change_json,
    gpt2,
    llama,
    weights,
)
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertLMHeadModel,
    PreTrainedModel,
    T5Config,
    ViTConfig,
)
from transformers.utils import logging as transformers_logging

from preference.core.errors import InputError
from preference.model import loading


class Marker:
    """Unpickling it makes the file that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_loaded_as_float32(saved: Path, dtype: torch.dtype) -> None:
    gpt2().to(dtype).save_pretrained(saved)
    loaded = weights(loading.load(saved))
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    expected = weights(gpt2())["transformer.wte.weight"].to(dtype).float()
    assert torch.equal(loaded["transformer.wte.weight"], expected)


def test_random_weights_follow_the_seed(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    (saved / "model.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        first, same, other = (loading.load(saved, random_seed=seed) for seed in (3, 3, 4))
    assert f"{saved}: no weights there: the model begins with RANDOM ones" in caplog.text
    assert_same_weights(first, same)
    assert not torch.equal(weights(first)["lm_head.weight"], weights(other)["lm_head.weight"])
    assert first.dtype == torch.float32


def test_a_seed_does_not_replace_weights_that_are_there(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert_same_weights(loading.load(saved, random_seed=3), gpt2())
    assert not caplog.text


def test_weights_that_are_there_are_ignored_where_that_is_asked_for(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = loading.load(saved, random_seed=3, ignore_weights=True)
    assert f"{saved}: its weights are ignored: the model begins with RANDOM ones" in caplog.text
    assert not torch.equal(weights(found)["lm_head.weight"], weights(gpt2())["lm_head.weight"])
    (saved / "model.safetensors").unlink()
    assert_same_weights(loading.load(saved, random_seed=3), found)


def test_what_transformers_warns_of_is_passed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a stage has made it silent; its table of weights, which is said anyway, is not."""
    # As transformers sets it where CI is set in the environment.
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    llama().save_pretrained(tmp_path)
    scaling = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0, "no_such_key": 1}
    change_json(tmp_path / "config.json", rope_parameters=scaling)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["extra"] = torch.ones(1)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    before = logging.getLogger("transformers").level
    transformers_logging.set_verbosity_error()
    with caplog.at_level(logging.WARNING):
        loading.load(tmp_path)
    assert logging.getLogger("transformers").level == logging.ERROR
    transformers_logging.set_verbosity(before)
    said = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path}: the model has no place for some weights: extra" in said
    assert any(line.startswith(f"{tmp_path}: transformers: ") for line in said)
    assert "no_such_key" in caplog.text
    assert "LOAD REPORT" not in caplog.text


def test_a_directory_without_weights_is_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no \*\.safetensors"):
        loading.load(saved)


@pytest.mark.parametrize("seed", [None, 0])
def test_code_that_comes_with_a_model_is_refused(saved: Path, seed: int | None) -> None:
    marker = saved / "marker"
    (saved / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    change_json(saved / "config.json", auto_map={"AutoModelForCausalLM": "code.Own"})
    with pytest.raises(InputError, match="auto_map asks to run code"):
        loading.load(saved, random_seed=seed)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/tmp/model.safetensors"])
def test_an_index_that_names_weights_elsewhere_is_refused(saved: Path, name: str) -> None:
    index = saved / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": name}}))
    with pytest.raises(InputError, match="weight_map names a file outside of the model's dir"):
        loading.load(saved)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
@pytest.mark.parametrize("seed", [None, 0])
def test_pickled_weights_are_refused_unread(saved: Path, name: str, seed: int | None) -> None:
    marker = saved / "marker"
    (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(pickle.dumps(Marker(marker)))
    with pytest.raises(InputError, match=f"{name}: pickled weights can run code"):
        loading.load(saved, random_seed=seed)
    assert not marker.exists()
    pickle.loads((saved / name).read_bytes())
    assert marker.exists(), "the pickle is harmless, so the test shows nothing"


def test_pickled_weights_beside_safetensors_are_not_read(saved: Path) -> None:
    marker = saved / "marker"
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps(Marker(marker)))
    assert_same_weights(loading.load(saved), gpt2())
    assert not marker.exists()


@pytest.mark.parametrize("make", [gpt2, llama])
def test_missing_weights_are_refused(tmp_path: Path, make: Callable[[], PreTrainedModel]) -> None:
    make().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    dropped = next(name for name in sorted(tensors) if "mlp" in name)
    del tensors[dropped]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"weights are missing \({dropped}\)"):
        loading.load(tmp_path)


def test_weights_of_another_size_are_refused(saved: Path) -> None:
    change_json(saved / "config.json", n_embd=16)
    message = r"saved: config\.json and weights disagree: transformer.* is stored with shape"
    with pytest.raises(InputError, match=message):
        loading.load(saved)


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_truncated_weights_are_refused(saved: Path, kept: int) -> None:
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match="cannot be loaded"):
        loading.load(saved)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_directory_without_config_is_refused(saved: Path, seed: int | None) -> None:
    (saved / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        loading.load(saved, random_seed=seed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"model_type": "no-such"}',
        '{"model_type": "gpt2", "n_layer": "two"}',
        '{"model_type": "gpt2", "n_embd": 8, "n_head": 3}',
    ],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_a_broken_config_is_refused(saved: Path, text: str, seed: int | None) -> None:
    (saved / "config.json").write_text(text)
    if seed is not None:
        (saved / "model.safetensors").unlink()
    with pytest.raises(InputError, match="saved"):
        loading.load(saved, random_seed=seed)


@pytest.mark.parametrize("config", [ViTConfig, T5Config])
@pytest.mark.parametrize("with_weights", [True, False])
def test_an_architecture_that_is_no_language_model_is_refused(
    saved: Path, config: type[ViTConfig | T5Config], with_weights: bool
) -> None:
    config().save_pretrained(saved)
    if not with_weights:
        (saved / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded as a causal language model"):
        loading.load(saved, random_seed=0)


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path) -> None:
    # transformers gives it out as a causal language model, but only is_decoder makes it one.
    config = BertConfig(
        vocab_size=48,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError):
        loading.load(tmp_path)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_an_old_checkpoint_from_the_hub_is_read(prefix: str, tmp_path: Path) -> None:
    # As gpt2's on the Hub: no prefix, no output layer (it is tied), and buffers since dropped.
    expected = gpt2()
    expected.save_pretrained(tmp_path)
    weights = {
        name.replace("transformer.", prefix): tensor.clone()
        for name, tensor in expected.state_dict().items()
        if name != "lm_head.weight"
    }
    weights[f"{prefix}h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = loading.load(tmp_path)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
