"""Params files: what loads, and how the others are refused."""

from pathlib import Path

import pytest
from data_helpers import PARAMS, write_params

from preference.core import params
from preference.core.errors import InputError


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        params.load(path)
    message = str(caught.value)
    assert path.name in message
    return message


def refused_with(tmp_path: Path, key: str, value: object) -> str:
    return refused(write_params(tmp_path / "params.yaml", {key: value}))


def test_a_valid_file_loads_with_its_values_and_the_defaults(tmp_path: Path) -> None:
    loaded = params.load(write_params(tmp_path / "params.yaml"))
    assert loaded.seed == 42
    assert loaded.data.train_pairs == 8
    assert loaded.train.objective == "dpo"
    assert loaded.train.kto.target_kl == 0.0
    assert loaded.runtime.device == "auto"
    assert (loaded.sft.batch_size, loaded.sft.grad_accum_steps) == (4, 2)


def test_leaf_keys_name_every_leaf_once() -> None:
    keys = list(params.leaf_keys())
    assert len(keys) == len(set(keys))
    assert {"seed", "data.source", "data.demo.lengths", "train.kto.target_kl"} <= set(keys)
    assert "data" not in keys


@pytest.mark.parametrize("text", ["2e-5", "2E-05", "0.00002", "2.0e-5"])
def test_exponents_are_numbers(tmp_path: Path, text: str) -> None:
    path = write_params(tmp_path / "params.yaml", {"sft.learning_rate": "RATE"})
    path.write_text(path.read_text().replace("RATE", text))
    assert params.load(path).sft.learning_rate == 2e-5


def test_all_pairs_are_asked_for_with_null(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.train_pairs": None, "data.eval_pairs": None}
    loaded = params.load(write_params(tmp_path / "params.yaml", changes))
    assert loaded.data.train_pairs is None
    assert loaded.data.eval_pairs is None


@pytest.mark.parametrize("value", ["path/*.parquet", ["one.jsonl", "two.jsonl"]])
def test_a_source_is_text_or_a_list_of_texts(tmp_path: Path, value: object) -> None:
    path = write_params(tmp_path / "params.yaml", {"data.source": value})
    assert params.load(path).data.source == value


@pytest.mark.parametrize("value", [True, False, "first-epoch"])
def test_dropout_is_a_switch_or_first_epoch(tmp_path: Path, value: object) -> None:
    path = write_params(tmp_path / "params.yaml", {"train.dropout": value})
    assert params.load(path).train.dropout == value


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
    message = refused_with(tmp_path, key, 1)
    assert f"{key}: unknown key" in message
    assert f"did you mean {near}?" in message


def test_a_misspelt_group_is_named_with_its_neighbour(tmp_path: Path) -> None:
    message = refused_with(tmp_path, "runtim", {"device": "cpu"})
    assert "runtim: unknown key" in message
    assert "did you mean runtime?" in message


def test_an_unknown_key_without_neighbour_shows_what_its_group_holds(tmp_path: Path) -> None:
    message = refused_with(tmp_path, "scoring.zzz", 1)
    assert "scoring.zzz: unknown key" in message
    assert "scoring.length_normalize" in message
    assert "train.beta" not in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "42"),
        ("seed", True),
        ("seed", 42.0),
        ("data", None),
        ("data.source", 5),
        ("data.source", ["a", 5]),
        ("data.revision", 1234567),
        ("data.train_pairs", "all"),
        ("data.demo", []),
        ("scoring.length_normalize", 1),
        ("sft.learning_rate", "1e-3"),
        ("sft.epochs", 1.0),
        ("train.dropout", 0.1),
        ("train.beta", None),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, key: str, value: object) -> None:
    lines = refused_with(tmp_path, key, value).splitlines()
    assert all(f"params.yaml: {key}" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("data.train_pairs", 0),
        ("data.max_length", 1),
        ("data.demo.lengths", "medium"),
        ("model.scratch.vocab_size", 299),
        ("sft.epochs", -1),
        ("sft.learning_rate", 0.0),
        ("sft.warmup_ratio", 1.5),
        ("sft.max_grad_norm", float("inf")),
        ("train.batch_size", 0),
        ("train.beta", -0.1),
        ("train.beta", float("nan")),
        ("train.label_noise", float("nan")),
        ("train.kto.target_kl", float("inf")),
        ("train.dropout", "second-epoch"),
        ("train.objective", "ppo"),
        ("precision", "fp8"),
        ("report.decimals", 0),
        ("runtime.tokens_per_batch", 0),
        ("runtime.workers", 0),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, key: str, value: object) -> None:
    lines = refused_with(tmp_path, key, value).splitlines()
    assert all(f"params.yaml: {key}" in line for line in lines)


@pytest.mark.parametrize("key", ["data.source", "train.dropout"])
def test_a_key_of_several_types_is_named_as_the_file_names_it(tmp_path: Path, key: str) -> None:
    lines = refused_with(tmp_path, key, 0.5).splitlines()
    assert all(line.startswith(f"{tmp_path / 'params.yaml'}: {key}: ") for line in lines)


@pytest.mark.parametrize("key", ["seed", "data", "data.max_length", "train.objective", "precision"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    message = refused(write_params(tmp_path / "params.yaml", without=key))
    assert f"{key}: missing" in message
    assert "recipes/" in message


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    changes: dict[str, object] = {"seed": "x", "train.beta": -1.0, "sft.foo": 1}
    message = refused(write_params(tmp_path / "params.yaml", changes))
    assert "seed: " in message
    assert "train.beta: " in message
    assert "sft.foo: unknown key" in message


@pytest.mark.parametrize(
    ("pairs", "rows", "wanted"),
    [
        ("train_pairs", "train_rows", 20_001),
        ("eval_pairs", "test_rows", 2_001),
    ],
)
def test_more_pairs_than_the_demo_makes_are_refused(
    tmp_path: Path, pairs: str, rows: str, wanted: int
) -> None:
    message = refused_with(tmp_path, f"data.{pairs}", wanted)
    assert "data" in message
    assert f"{pairs} asks for {wanted}" in message
    assert f"raise data.demo.{rows}" in message


def test_steps_that_would_cut_a_pair_are_refused(tmp_path: Path) -> None:
    changes: dict[str, object] = {"train.objective": "kto", "train.kto.shuffle": "pairs"}
    odd = changes | {"train.batch_size": 5, "train.grad_accum_steps": 3}
    message = refused(write_params(tmp_path / "params.yaml", odd))
    assert "kto.shuffle: pairs needs an even number of examples a step, not 15" in message
    even = changes | {"train.batch_size": 5, "train.grad_accum_steps": 2}
    assert params.load(write_params(tmp_path / "params.yaml", even)).train.batch_size == 5


def test_pairs_of_another_source_are_not_bound_by_the_demo(tmp_path: Path) -> None:
    changes: dict[str, object] = {"data.source": "some/files", "data.train_pairs": 10**6}
    loaded = params.load(write_params(tmp_path / "params.yaml", changes))
    assert loaded.data.train_pairs == 10**6


def test_heads_must_divide_the_width(tmp_path: Path) -> None:
    message = refused_with(tmp_path, "model.scratch.n_head", 3)
    assert "model.scratch" in message
    assert "n_embd (128) must be a multiple of n_head (3)" in message


@pytest.mark.parametrize(
    "content",
    [b"seed: [", b"seed: 1\nseed: 2", b"seed: 1\n---\nseed: 2", b"\xff\xfe\xfd", b"a:\n\t- b"],
    ids=["open list", "key twice", "two documents", "no text", "tab"],
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert "not valid YAML" in refused(path)


@pytest.mark.parametrize("content", ["", "- seed\n", "seed\n", "42\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    assert "expected keys and values" in refused(path)


def test_a_missing_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    message = refused(tmp_path / "params.yaml")
    assert "no such file" in message
    assert "make repro RECIPE=demo-dpo" in message


def test_the_values_that_these_tests_start_from_hold_only_known_keys() -> None:
    assert params.Params.model_validate(PARAMS).seed == PARAMS["seed"]


def test_defaults_of_tracked_params_stay() -> None:
    """No stage tracks this module: with another default, what is cached would be of the old one."""
    demo = {"train_rows": 20_000, "test_rows": 2_000, "lengths": "short", "seed": 0}
    assert params.Demo().model_dump() == demo
    scratch = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 512, "vocab_size": 1024}
    assert params.Scratch().model_dump() == scratch
    assert params.Kto(target_kl=0.0).shuffle == "examples"
    assert params.Model(base="scratch", revision=None).weights == "auto"
    assert params.Rankings().model_dump() == {"pairs": "all", "min_gap": 0.0}
    assert params.Splits().model_dump() == {"train": "train", "test": "test"}
    assert set(params.Columns().model_dump().values()) == {None}
    assert params.Train.model_fields["keep"].default == "last"
    has_default = {
        key for key in params.leaf_keys() if not key.startswith("runtime.") and optional(key)
    }
    assert has_default == {
        *(f"data.demo.{name}" for name in demo),
        *(f"model.scratch.{name}" for name in scratch),
        *(f"data.rankings.{name}" for name in params.Rankings.model_fields),
        *(f"data.splits.{name}" for name in params.Splits.model_fields),
        *(f"data.columns.{name}" for name in params.Columns.model_fields),
        "model.weights",
        "train.keep",
        "train.kto.shuffle",
    }


def optional(key: str) -> bool:
    section: type[params.Section] = params.Params
    *groups, name = key.split(".")
    for group in groups:
        section = section.model_fields[group].annotation  # type: ignore[assignment]
    return not section.model_fields[name].is_required()
