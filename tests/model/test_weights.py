"""Files of weights: found, or refused where they are announced and not there."""

import json
from pathlib import Path
from typing import Literal

import pytest
from model_cases import assert_same_weights, gpt2

from preference.core.errors import InputError
from preference.core.params import Model
from preference.model import adapters, base, loading, weights

INDEX = "model.safetensors.index.json"


def find(directory: Path) -> list[str]:
    return [file.name for file in weights.find(directory, adapters.WEIGHTS)]


def refuse(directory: Path, message: str) -> None:
    """Neither to train or score, nor as a base, where random weights would take their place."""
    with pytest.raises(InputError, match=message):
        find(directory)
    for seed in (None, 0):
        with pytest.raises(InputError, match=message):
            loading.load(directory, random_seed=seed)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    gpt2().save_pretrained(tmp_path / "sharded", max_shard_size="2KB")
    return tmp_path / "sharded"


def test_whole_weights_are_found(saved: Path) -> None:
    assert find(saved) == ["model.safetensors"]
    (saved / "model.safetensors").unlink()
    assert find(saved) == []


def test_shards_are_found_and_loaded(sharded: Path) -> None:
    assert len(find(sharded)) > 2
    assert_same_weights(loading.load(sharded), gpt2())


def test_an_index_without_shards_is_refused(saved: Path, sharded: Path) -> None:
    (saved / "model.safetensors").unlink()
    (saved / INDEX).write_bytes((sharded / INDEX).read_bytes())
    name = min(json.loads((sharded / INDEX).read_text())["weight_map"].values())
    refuse(saved, f"saved/{name}: no such file, though {INDEX} says that it holds weights")


def test_a_missing_shard_is_named(sharded: Path) -> None:
    missing = sorted(sharded.glob("*.safetensors"))[1]
    missing.unlink()
    refuse(sharded, f"{missing}: no such file, though")


def test_shards_without_index_are_refused(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    refuse(sharded, f"neither model.safetensors nor {INDEX} beside it")


def test_an_index_that_is_no_index_is_refused(sharded: Path) -> None:
    (sharded / INDEX).write_text("{")
    refuse(sharded, f"{INDEX}: not JSON")


def test_a_link_to_nothing_is_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors").symlink_to(saved / "blobs/gone")
    refuse(saved, r"saved/model\.safetensors: a link to a file that is not there")


def test_a_pointer_is_refused(saved: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 500\n"
    (saved / "model.safetensors").write_text(pointer)
    refuse(saved, r"saved/model\.safetensors: not the weights, but Git LFS's note")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin.index.json", r"\.bin\.index\.json: pickled weights"),
        ("training_args.bin", r"training_args\.bin: pickled weights"),
        ("tf_model.h5", r"tf_model\.h5: weights in a format that is not read"),
        ("flax_model.msgpack", r"flax_model\.msgpack: weights in a format that is not read"),
        ("model-q8.gguf", r"saved: its weights are GGUF; name the file itself: .*model-q8\.gguf"),
    ],
)
def test_weights_of_other_kinds_are_announced_weights(saved: Path, name: str, message: str) -> None:
    (saved / "model.safetensors").unlink()
    (saved / name).write_text("{}")
    refuse(saved, message)


def test_random_weights_are_made_whatever_is_there(local: Path, tmp_path: Path) -> None:
    """Where they are asked for; the same as where nothing is there."""
    index, pickled = local / INDEX, local / "pytorch_model.bin"

    def made(name: str, weights: Literal["auto", "random"] = "random") -> bytes:
        model = Model(base=str(local), revision=None, weights=weights)
        base.create_base(model, 5, tmp_path / name, [])
        return (tmp_path / name / "model.safetensors").read_bytes()

    beside_weights = made("weights")
    assert beside_weights != (local / "model.safetensors").read_bytes()
    (local / "model.safetensors").unlink()
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    beside_index = made("index")
    index.unlink()
    pickled.touch()
    beside_pickle = made("pickle")
    pickled.unlink()
    assert beside_weights == beside_index == beside_pickle == made("alone", "auto")


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json: expected an object"):
        weights.read_object(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"b\.json: cannot be read"):
        weights.read_object(tmp_path / "b.json")
