"""LoRA adapters: merged into the base that they name, or refused."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model_cases import change_json, gpt2, llama, make_adapter, weights
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from preference.core.errors import InputError
from preference.core.params import Model
from preference.model import adapters, base, directories, loading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IDS = torch.arange(12).reshape(2, 6)


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(IDS).logits


def by_hand(base: Path, adapter: Path, transposed: bool) -> dict[str, torch.Tensor]:
    """The base's weights with scaling x B A added to each that the adapter changes."""
    tensors, found = load_file(adapter / adapters.WEIGHTS), weights(loading.load(base))
    settings = json.loads((adapter / adapters.CONFIG).read_text())
    scaling = settings["lora_alpha"] / settings["r"]
    for name, a in tensors.items():
        if "lora_A" in name:
            b = tensors[name.replace("lora_A", "lora_B")]
            of = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
            change = scaling * (b @ a)
            found[of] = found[of] + (change.T if transposed else change)
    return found


@pytest.mark.parametrize("make", [gpt2, llama])
def test_an_adapter_is_merged_into_its_base(
    make: Callable[[], PreTrainedModel], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make().save_pretrained(tmp_path / "base")
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter")
    with caplog.at_level(logging.INFO):
        found = loading.load(adapter)
    assert f"{adapter}: an adapter, merged into its base {tmp_path / 'base'}" in caplog.text
    expected = by_hand(tmp_path / "base", adapter, transposed=make is gpt2)
    assert weights(found).keys() == expected.keys()
    for name, tensor in weights(found).items():
        torch.testing.assert_close(tensor, expected[name])
    assert not torch.allclose(logits(found), logits(loading.load(tmp_path / "base")), atol=0.01)
    assert directories.parts(adapter) == [adapter, tmp_path / "base"]
    assert directories.origin(adapter) == "unknown"


def test_an_adapter_as_base_is_saved_as_a_whole_model(local: Path, tmp_path: Path) -> None:
    adapter = make_adapter(local, tmp_path / "adapter")
    base.create_base(Model(base=str(adapter), revision=None), 0, tmp_path / "out", [])
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(whole), logits(loading.load(adapter)))
    assert not list((tmp_path / "out").glob("adapter*"))
    # Without a tokenizer of its own it has its base's.
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (local / "tokenizer.json").read_bytes()
    assert directories.origin(adapter) == "scratch"


@pytest.mark.parametrize(("make", "layer"), [(gpt2, "wte"), (llama, "embed_tokens")])
def test_a_layer_saved_whole_is_taken_over(
    make: Callable[[], PreTrainedModel], layer: str, tmp_path: Path
) -> None:
    """Where output layer and embedding were one matrix, they are two then."""
    make().save_pretrained(tmp_path / "base")
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter", modules_to_save=["lm_head"])
    stored = load_file(adapter / adapters.WEIGHTS)["base_model.model.lm_head.weight"]
    merged = loading.load(adapter)
    merged.save_pretrained(tmp_path / "out")
    for model in (merged, loading.load(tmp_path / "out")):
        assert torch.equal(weights(model)["lm_head.weight"], stored)
        (embedding,) = (value for name, value in weights(model).items() if f"{layer}." in name)
        assert not torch.equal(embedding, stored)


def test_what_merging_would_change_otherwise_is_refused(tmp_path: Path) -> None:
    # The embedding is the output layer, too, which the adapter alone leaves as it is.
    gpt2().save_pretrained(tmp_path / "base")
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter", target_modules=["wte"])
    with pytest.raises(InputError, match="merged into its base the adapter gives another model"):
        loading.load(adapter)


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    return make_adapter(saved, tmp_path / "adapter")


def refuse(adapter: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loading.load(adapter)


CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "code": (
        {"auto_mapping": {"base_model_class": "Own", "parent_library": "own_code"}},
        r"adapter_config\.json: auto_mapping asks to import code",
    ),
    "code by another name": ({"auto_mapping": "own.Own"}, "auto_mapping asks to import code"),
    "a module": (
        {"megatron_config": {"a": 1}, "megatron_core": "os"},
        r"adapter_config\.json: megatron_config names a module",
    ),
    "a pickle": (
        {"corda_config": {"cache_file": "x.pt"}, "init_lora_weights": "corda"},
        r"adapter_config\.json: corda_config names a module or a file",
    ),
    "another kind": ({"peft_type": "PROMPT_TUNING"}, "peft_type is 'PROMPT_TUNING'; .* only LORA"),
    "no base": (
        {"base_model_name_or_path": ""},
        r"adapter_config\.json: base_model_name_or_path is ''; set it to the model",
    ),
    "a base that is gone": (
        {"base_model_name_or_path": "./gone"},
        r"adapter_config\.json: base_model_name_or_path: './gone' is no directory",
    ),
    "an unpinned base": (
        {"base_model_name_or_path": "some/model"},
        r"base_model_name_or_path: 'some/model' .* the key revision beside it must pin it",
    ),
    "a base at a branch": (
        {"base_model_name_or_path": "some/model", "revision": "main"},
        "the key revision beside it must pin it to a commit of 40 hex digits .it is 'main'",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_cannot_be_used_is_refused(case: str, adapter: Path) -> None:
    changes, message = CONFIGS[case]
    change_json(adapter / adapters.CONFIG, **changes)
    refuse(adapter, message)


def test_a_mapping_to_the_library_itself_asks_for_no_code(saved: Path, tmp_path: Path) -> None:
    adapter = make_adapter(saved, tmp_path / "adapter", task_type=None)
    mapping = json.loads((adapter / adapters.CONFIG).read_text())["auto_mapping"]
    assert mapping["parent_library"].startswith("transformers.")
    loading.load(adapter)


def test_a_pinned_base_is_asked_of_the_hub(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not directories.on_hub(str(adapter))
    change_json(adapter / adapters.CONFIG, base_model_name_or_path="some/model", revision=COMMIT)
    assert directories.on_hub(None, str(adapter))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(adapter, f"Hub model some/model at {COMMIT}: cannot be fetched")


def test_pickled_weights_are_refused_unread(adapter: Path) -> None:
    (adapter / adapters.WEIGHTS).unlink()
    refuse(adapter, r"adapter_model\.safetensors: no such file, though adapter_config\.json says")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({}))
    refuse(adapter, r"adapter_model\.bin: pickled weights can run code")
    (adapter / adapters.CONFIG).unlink()
    refuse(adapter, r"adapter_config\.json: no such file, though there are an adapter's weights")


def test_an_adapter_beside_a_whole_model_is_refused(adapter: Path, saved: Path) -> None:
    for file in saved.iterdir():
        shutil.copy(file, adapter)
    refuse(adapter, r"holds both an adapter .* and a whole model \(model\.safetensors\)")


def test_an_adapter_of_an_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    change_json(second / adapters.CONFIG, base_model_name_or_path=str(adapter))
    refuse(second, "is an adapter itself")


def test_an_adapter_of_a_damaged_base_is_refused(local: Path, tmp_path: Path) -> None:
    adapter = make_adapter(local, tmp_path / "adapter")
    (local / "generation_config.json").write_text("{}")
    refuse(adapter, r"local/generation_config\.json: not what checksums\.json beside it says")


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "other")
    change_json(
        adapter / adapters.CONFIG,
        base_model_name_or_path=str(tmp_path / "other"),
        target_modules=["q_proj"],
    )
    refuse(adapter, r"adapter_model\.safetensors: (lacks|has no place in the base for) .*lora")


@pytest.mark.parametrize("extra", [False, True])
def test_weights_that_do_not_fit_are_named(adapter: Path, extra: bool) -> None:
    tensors = load_file(adapter / adapters.WEIGHTS)
    name = sorted(tensors)[0]
    if extra:
        tensors["base_model.model.transformer.h.7.attn.c_attn.lora_A.weight"] = torch.ones(2, 8)
    else:
        del tensors[name]
    save_file(tensors, adapter / adapters.WEIGHTS)
    refuse(adapter, "has no place in the base for .*h.7.attn" if extra else "lacks .*c_attn.lora_A")


def test_weights_of_another_size_are_refused(adapter: Path) -> None:
    change_json(adapter / adapters.CONFIG, r=3)
    refuse(adapter, "adapter: its adapter cannot be merged into the base .*size mismatch")


def test_weights_that_are_not_numbers_are_named(adapter: Path) -> None:
    tensors = load_file(adapter / adapters.WEIGHTS)
    name = next(name for name in sorted(tensors) if "mlp" in name)
    tensors[name][0, 0] = torch.inf
    save_file(tensors, adapter / adapters.WEIGHTS)
    refuse(adapter, rf"1 of the \d+ weights in .*{name.removesuffix('.weight')}.* are NaN or inf")


def test_random_weights_are_not_had_from_an_adapter(local: Path, tmp_path: Path) -> None:
    adapter = make_adapter(local, tmp_path / "adapter")
    model = Model(base=str(adapter), revision=None, weights="random")
    with pytest.raises(InputError, match="an adapter, of which random weights make nothing"):
        base.create_base(model, 0, tmp_path / "out", [])
