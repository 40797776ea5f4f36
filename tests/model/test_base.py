"""The base model: from scratch, from a directory, and refused."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from model_cases import (
    SIZE,
    assert_same_weights,
    change_json,
    contents,
    gpt2,
    llama,
    make_base,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from preference.core.errors import InputError
from preference.core.params import Model
from preference.data import tokens
from preference.model import base, directories, loading
from preference.store import checksums


def test_scratch_is_the_same_for_the_same_seed(scratch: Path, tmp_path: Path) -> None:
    make_base(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(scratch)


def test_scratch_has_other_weights_for_another_seed(scratch: Path, tmp_path: Path) -> None:
    make_base(tmp_path / "other", seed=2)
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
    base.create_base(Model(base=str(local), revision=None), 5, tmp_path / "out", [])
    assert_same_weights(loading.load(tmp_path / "out"), loading.load(local))
    tokens.require_same_tokenizer(tmp_path / "out", local)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shards_of_half_precision_are_taken_value_by_value(
    dtype: torch.dtype, local: Path, tmp_path: Path
) -> None:
    expected = gpt2(vocabulary=300).to(dtype)
    (local / "model.safetensors").unlink()
    expected.save_pretrained(local, max_shard_size="5KB")
    assert len(list(local.glob("model-*.safetensors"))) == 2
    base.create_base(Model(base=str(local), revision=None), 5, tmp_path / "out", [])
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert found.dtype == torch.float32
    assert_same_weights(found, expected.float())


def test_a_directory_without_weights_gets_them_from_the_seed(local: Path, tmp_path: Path) -> None:
    (local / "model.safetensors").unlink()
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        base.create_base(Model(base=str(local), revision=None), seed, tmp_path / name, [])
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert same == one
    assert other["model.safetensors"] != one["model.safetensors"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "one").config.n_layer == 1


def refuse(name: str, out: Path, message: str, revision: str | None = None) -> None:
    with pytest.raises(InputError, match=message):
        base.create_base(Model(base=name, revision=revision), 0, out, [])
    assert not out.exists()


def test_a_tokenizer_without_eos_is_refused(local: Path, tmp_path: Path) -> None:
    change_json(local / "tokenizer_config.json", eos_token=None)
    refuse(str(local), tmp_path / "out", r"tokenizer_config\.json: no eos_token")


def test_an_end_that_the_model_does_not_know_is_warned_of(
    local: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_json(local / "config.json", eos_token_id=300)
    with caplog.at_level(logging.WARNING):
        base.create_base(Model(base=str(local), revision=None), 5, tmp_path / "out", [])
    assert f"{local}/config.json: eos_token_id is 300, and the model has 300 embed" in caplog.text


def test_a_tokenizer_that_the_model_has_no_embeddings_for_is_refused(
    local: Path, tmp_path: Path
) -> None:
    gpt2(vocabulary=299).save_pretrained(local)
    refuse(str(local), tmp_path / "out", "ids up to 299, the model 299 embeddings")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer.json", r"tokenizer\.json: no usable tokenizer"),
        ("tokenizer_config.json", r"tokenizer_config\.json: not JSON"),
    ],
)
def test_a_damaged_tokenizer_is_refused(
    local: Path, tmp_path: Path, name: str, message: str
) -> None:
    (local / name).write_text("{")
    refuse(str(local), tmp_path / "out", rf"local/{message}")


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


def test_the_origin_of_a_directory_tells_no_path(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project/.dvc/tmp/sweep").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "project/.dvc/tmp/sweep")
    for name in (str(local), "~/local", "../local"):
        base.create_base(Model(base=name, revision=None), 1, tmp_path / "out", [])
        digest = sha256((local / "model.safetensors").read_bytes()).hexdigest()[:12]
        assert directories.origin(tmp_path / "out") == f"local (sha256 {digest})"
        base.create_base(Model(base=name, revision=None, weights="random"), 1, tmp_path / "out", [])
        assert directories.origin(tmp_path / "out") == "local (random weights)"


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
        base.create_base(Model(base=str(tmp_path / "nothing"), revision=None), 0, out, [])
    assert contents(out) == contents(scratch)


def test_the_same_tokenizer_passes(scratch: Path, local: Path) -> None:
    tokens.require_same_tokenizer(local, scratch)


def test_a_model_without_tokenizer_passes(scratch: Path, saved: Path) -> None:
    tokens.require_same_tokenizer(saved, scratch)


def test_another_tokenizer_is_refused(scratch: Path, tmp_path: Path) -> None:
    larger = SIZE.model_copy(update={"vocab_size": 320})
    make_base(tmp_path / "larger", size=larger)
    with pytest.raises(InputError, match=r"larger: its tokenizer is not that of .*scratch"):
        tokens.require_same_tokenizer(tmp_path / "larger", scratch)


def add_token(directory: Path, token: str) -> None:
    """As `tokenizer.add_special_tokens` and `save_pretrained`."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"pad_token": token})
    tokenizer.save_pretrained(directory)


def test_a_token_that_was_added_for_padding_passes(scratch: Path, local: Path) -> None:
    add_token(local, "[PAD]")
    assert len(AutoTokenizer.from_pretrained(local)) == SIZE.vocab_size + 1
    tokens.require_same_tokenizer(local, scratch)
    # The other way round the pairs may hold it.
    with pytest.raises(InputError, match="its tokenizer is not that of"):
        tokens.require_same_tokenizer(scratch, local)


def test_other_ids_beside_an_added_token_are_refused(scratch: Path, local: Path) -> None:
    add_token(local, "[PAD]")
    content = json.loads((local / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (local / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="its tokenizer is not that of"):
        tokens.require_same_tokenizer(local, scratch)


def test_a_damaged_tokenizer_is_not_the_same(scratch: Path, local: Path) -> None:
    (local / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        tokens.require_same_tokenizer(local, scratch)
