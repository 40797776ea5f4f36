"""YAML files read as sections: how keys and values that do not fit are named."""

from pathlib import Path

import pytest
from data_helpers import PARAMS, refused_params, refused_value, write_params
from pydantic import ValidationError

from preference.core import optimization, params, sections


def test_leaf_keys_name_every_leaf_once() -> None:
    keys = list(sections.leaf_keys(params.Params))
    assert len(keys) == len(set(keys))
    assert {"seed", "data.source", "data.demo.lengths", "train.kto.target_kl"} <= set(keys)
    assert "data" not in keys


@pytest.mark.parametrize("text", ["2e-5", "2E-05", "0.00002", "2.0e-5"])
def test_exponents_are_numbers(tmp_path: Path, text: str) -> None:
    path = write_params(tmp_path / "params.yaml", {"sft.learning_rate": "RATE"})
    path.write_text(path.read_text().replace("RATE", text))
    assert params.load(path).sft.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("sed", "seed"),
        ("data.max_len", "data.max_length"),
        ("data.demo.length", "data.demo.lengths"),
        ("sft.learning_rat", "sft.learning_rate"),
        ("train.learning_rat", "train.learning_rate"),
        ("train.beat", "train.beta"),
        ("train.kto.target_k", "train.kto.target_kl"),
    ],
)
def test_an_unknown_key_is_named_with_its_neighbour(tmp_path: Path, key: str, near: str) -> None:
    message = refused_value(tmp_path, key, 1)
    assert f"{key}: unknown key" in message
    assert f"did you mean {near}?" in message


def test_a_misspelt_group_is_named_with_its_neighbour(tmp_path: Path) -> None:
    message = refused_value(tmp_path, "runtim", {"device": "cpu"})
    assert "runtim: unknown key" in message
    assert "did you mean runtime?" in message


def test_an_unknown_key_without_neighbour_shows_what_its_group_holds(tmp_path: Path) -> None:
    message = refused_value(tmp_path, "scoring.zzz", 1)
    assert "scoring.zzz: unknown key" in message
    assert "scoring.length_normalize" in message
    assert "train.beta" not in message


@pytest.mark.parametrize("key", ["seed", "data", "data.max_length", "train.objective", "precision"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    message = refused_params(write_params(tmp_path / "params.yaml", without=key))
    assert f"{key}: missing" in message
    assert "recipes/" in message


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    changes: dict[str, object] = {"seed": "x", "train.beta": -1.0, "sft.foo": 1}
    message = refused_params(write_params(tmp_path / "params.yaml", changes))
    assert "seed: " in message
    assert "train.beta: " in message
    assert "sft.foo: unknown key" in message


@pytest.mark.parametrize(
    "content",
    [b"seed: [", b"seed: 1\nseed: 2", b"seed: 1\n---\nseed: 2", b"\xff\xfe\xfd", b"a:\n\t- b"],
    ids=["open list", "key twice", "two documents", "no text", "tab"],
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert "not valid YAML" in refused_params(path)


@pytest.mark.parametrize("content", ["", "- seed\n", "seed\n", "42\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    assert "expected keys and values" in refused_params(path)


def test_flat_has_the_leaf_keys_of_a_section_and_all_that_a_file_nests() -> None:
    nested = {**PARAMS["train"], "options": {"gamma": 1.0}}
    found = dict(sections.flat(params.Train.model_validate(nested), "train."))
    assert list(found) == list(sections.leaf_keys(params.Train, "train."))
    assert found["train.options"] == {"gamma": 1.0}
    assert dict(sections.flat({"train": nested}))["train.options.gamma"] == 1.0


def test_a_group_that_may_be_null_is_one_leaf() -> None:
    train = params.Train.model_validate(PARAMS["train"] | {"lora": {"r": 4}})
    found = dict(sections.flat(train, "train."))
    assert list(found) == list(sections.leaf_keys(params.Train, "train."))
    assert train.lora is not None
    assert found["train.lora"] == train.lora.model_dump()
    opened = set(sections.leaf_keys(params.Train, "train.", opened=True))
    assert opened - set(found) == {f"train.lora.{name}" for name in optimization.Lora.model_fields}
    assert set(found) - opened == {"train.lora"}


class Group(sections.Section):
    one: int
    two: sections.Minority = 0.0


def test_problems_of_a_group_bear_its_name() -> None:
    with pytest.raises(ValidationError) as caught:
        Group.model_validate({"two": 0.5, "tw": 1, "zzzz": 1})
    assert sections.problems(caught.value, Group, "a.b.") == [
        "a.b.one: missing; the files in recipes/ show every key",
        "a.b.two: input should be less than 0.5 (it is 0.5)",
        "a.b.tw: unknown key; did you mean a.b.two?",
        "a.b.zzzz: unknown key; known are a.b.one, a.b.two",
    ]
