"""Models in directories: made, saved, loaded, and refused when they are not what they should be."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    ViTConfig,
)

from preference.core.errors import InputError
from preference.core.params import Model, Scratch
from preference.data import tokens
from preference.model import base, loading
from preference.store import checksums

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


class Marker:
    """Unpickling it makes the file that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A tiny GPT-2 in a directory, without a tokenizer."""
    gpt2().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `model.base: scratch` makes; shared, so not to be changed."""
    out = tmp_path_factory.mktemp("models") / "scratch"
    base.create_base(Model(base="scratch", revision=None, scratch=SIZE), 1, out)
    return out


@pytest.fixture
def local(scratch: Path, tmp_path: Path) -> Path:
    """A copy of it, as a user's own directory."""
    return Path(shutil.copytree(scratch, tmp_path / "local"))


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_saved_model_comes_back_the_same(
    tmp_path: Path, make: Callable[[], PreTrainedModel]
) -> None:
    model, out = make(), tmp_path / "out"
    loading.save(model, tokenizer_from=tmp_path, out=out)
    assert_same_weights(model, loading.load(out))
    assert_same_weights(model, AutoModelForCausalLM.from_pretrained(out))
    assert not list(out.glob("*.bin"))


def test_a_saved_model_has_the_tokenizer_it_came_with(scratch: Path, tmp_path: Path) -> None:
    loading.save(gpt2(SIZE.vocab_size), tokenizer_from=scratch, out=tmp_path / "out")
    found, expected = contents(tmp_path / "out"), contents(scratch)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert found[name] == expected[name]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == base.EOS


def test_saving_replaces_the_earlier_model(saved: Path) -> None:
    (saved / "stale.safetensors").touch()
    loading.save(llama(), tokenizer_from=saved, out=saved)
    assert_same_weights(loading.load(saved), llama())
    assert not (saved / "stale.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_loaded_as_float32(saved: Path, dtype: torch.dtype) -> None:
    gpt2().to(dtype).save_pretrained(saved)
    loaded = weights(loading.load(saved))
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    expected = weights(gpt2())["transformer.wte.weight"].to(dtype).float()
    assert torch.equal(loaded["transformer.wte.weight"], expected)


def test_random_weights_follow_the_seed(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    first, same, other = (loading.load(saved, random_seed=seed) for seed in (3, 3, 4))
    assert_same_weights(first, same)
    assert not torch.equal(weights(first)["lm_head.weight"], weights(other)["lm_head.weight"])
    assert first.dtype == torch.float32


def test_a_seed_does_not_replace_weights_that_are_there(saved: Path) -> None:
    assert_same_weights(loading.load(saved, random_seed=3), gpt2())


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
    with pytest.raises(InputError, match="cannot be loaded as a causal language model"):
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


def test_scratch_is_the_same_for_the_same_seed(scratch: Path, tmp_path: Path) -> None:
    base.create_base(Model(base="scratch", revision=None, scratch=SIZE), 1, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(scratch)


def test_scratch_has_other_weights_for_another_seed(scratch: Path, tmp_path: Path) -> None:
    base.create_base(Model(base="scratch", revision=None, scratch=SIZE), 2, tmp_path / "other")
    found, expected = contents(tmp_path / "other"), contents(scratch)
    # And so has the record of what the files are.
    for name in ("model.safetensors", checksums.NAME):
        assert found.pop(name) != expected.pop(name)
    assert found == expected


def test_scratch_loads_with_transformers_alone(scratch: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(scratch)
    tokenizer = AutoTokenizer.from_pretrained(scratch)
    assert model.config.model_type == "gpt2"
    assert (model.config.n_layer, model.config.n_embd, model.config.n_positions) == (1, 8, 32)
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings == SIZE.vocab_size
    assert tokenizer.eos_token == base.EOS
    assert tokenizer.eos_token_id == model.config.eos_token_id


@pytest.mark.parametrize(
    "text",
    ["\n\nHuman: Where's it?\n\nAssistant: Here.", "  two  spaces\t", "Zürich, 北京, 🙂, \x00"],
)
def test_the_tokenizer_of_scratch_gives_texts_back(scratch: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(scratch)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_a_directory_with_weights_is_taken_as_it_is(local: Path, tmp_path: Path) -> None:
    base.create_base(Model(base=str(local), revision=None), 5, tmp_path / "out")
    assert_same_weights(loading.load(tmp_path / "out"), loading.load(local))
    tokens.require_same_tokenizer(tmp_path / "out", local)


def test_a_directory_without_weights_gets_them_from_the_seed(local: Path, tmp_path: Path) -> None:
    (local / "model.safetensors").unlink()
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        base.create_base(Model(base=str(local), revision=None), seed, tmp_path / name)
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert same == one
    assert other["model.safetensors"] != one["model.safetensors"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "one").config.n_layer == 1


def refuse(name: str, out: Path, message: str, revision: str | None = None) -> None:
    with pytest.raises(InputError, match=message):
        base.create_base(Model(base=name, revision=revision), 0, out)
    assert not out.exists()


def test_a_tokenizer_without_eos_is_refused(local: Path, tmp_path: Path) -> None:
    change_json(local / "tokenizer_config.json", eos_token=None)
    refuse(str(local), tmp_path / "out", r"tokenizer_config\.json: no eos_token")


def test_a_tokenizer_that_the_model_has_no_embeddings_for_is_refused(
    local: Path, tmp_path: Path
) -> None:
    gpt2(vocabulary=299).save_pretrained(local)
    refuse(str(local), tmp_path / "out", "ids up to 299, the model 299 embeddings")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_refused(local: Path, tmp_path: Path, name: str) -> None:
    (local / name).write_text("{")
    refuse(str(local), tmp_path / "out", "no usable tokenizer")


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_directory_without_tokenizer_is_refused(
    tmp_path: Path, make: Callable[[], PreTrainedModel]
) -> None:
    make().save_pretrained(tmp_path / "bare")
    refuse(str(tmp_path / "bare"), tmp_path / "out", "tokenizer")


def test_code_that_comes_with_a_tokenizer_is_not_run(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    (local / "code.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n"
        f"open({str(marker)!r}, 'w')\n"
        "class Own(PreTrainedTokenizerFast): pass\n"
    )
    change_json(
        local / "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": [None, "code.Own"]},
    )
    change_json(local / "config.json", model_type="own")
    # transformers would ask on the terminal, and someone would say yes.
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    refuse(str(local), tmp_path / "out", "local")
    assert not marker.exists()


@pytest.mark.parametrize("base", ["./nothing", "nothing/at/all", "/nothing/at/all", "~/no-such"])
def test_a_path_that_does_not_exist_is_refused(tmp_path: Path, base: str) -> None:
    refuse(base, tmp_path / "out", "no directory with config|no such file or directory")


def test_a_file_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuse(str(tmp_path / "file"), tmp_path / "out", "no directory with config and tokenizer")


@pytest.mark.parametrize("revision", [None, "main", "607a30d", "607A30D783DFA663CAF39E06633721C8"])
def test_a_hub_id_must_be_pinned_to_a_commit(tmp_path: Path, revision: str | None) -> None:
    message = r"params\.yaml: model\.base: 'some/model' .* model\.revision must pin it to a commit"
    refuse("some/model", tmp_path / "out", message, revision)


def test_a_refused_base_leaves_the_earlier_one(scratch: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(scratch, tmp_path / "out"))
    with pytest.raises(InputError):
        base.create_base(Model(base=str(tmp_path / "nothing"), revision=None), 0, out)
    assert contents(out) == contents(scratch)


def test_the_same_tokenizer_passes(scratch: Path, local: Path) -> None:
    tokens.require_same_tokenizer(local, scratch)


def test_a_model_without_tokenizer_passes(scratch: Path, saved: Path) -> None:
    tokens.require_same_tokenizer(saved, scratch)


def test_another_tokenizer_is_refused(scratch: Path, tmp_path: Path) -> None:
    larger = Model(
        base="scratch", revision=None, scratch=SIZE.model_copy(update={"vocab_size": 320})
    )
    base.create_base(larger, 1, tmp_path / "larger")
    with pytest.raises(InputError, match=r"larger: its tokenizer is not that of .*scratch"):
        tokens.require_same_tokenizer(tmp_path / "larger", scratch)


def test_a_damaged_tokenizer_is_not_the_same(scratch: Path, local: Path) -> None:
    (local / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        tokens.require_same_tokenizer(local, scratch)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_sequences_must_fit_the_positions(make: Callable[[], PreTrainedModel]) -> None:
    model = make()
    loading.check_length(model, 32)
    with pytest.raises(InputError, match=r"up to 33 tokens, .* takes 32 .* data\.max_length to 32"):
        loading.check_length(model, 33)


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
