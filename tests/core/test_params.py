"""Params files: what loads, and how the others are refused."""

from pathlib import Path

import pytest
from data_helpers import PARAMS, refused_params, refused_value, write_params

from preference.core import data_params, optimization, params, sections


def test_a_valid_file_loads_with_its_values_and_the_defaults(tmp_path: Path) -> None:
    loaded = params.load(write_params(tmp_path / "params.yaml"))
    assert loaded.seed == 42
    assert loaded.data.train_pairs == 8
    assert loaded.train.objective == "dpo"
    assert loaded.train.kto.target_kl == 0.0
    assert loaded.runtime.device == "auto"
    assert (loaded.sft.batch_size, loaded.sft.grad_accum_steps) == (4, 2)


@pytest.mark.parametrize("value", [True, False, "first-epoch"])
def test_dropout_is_a_switch_or_first_epoch(tmp_path: Path, value: object) -> None:
    path = write_params(tmp_path / "params.yaml", {"train.dropout": value})
    assert params.load(path).train.dropout == value


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
        ("train.max_steps", 10.0),
        ("train.adam_beta1", "0.9"),
        ("train.dropout", 0.1),
        ("train.beta", None),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, key: str, value: object) -> None:
    lines = refused_value(tmp_path, key, value).splitlines()
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
        ("sft.max_steps", 0),
        ("sft.schedule", "constant"),
        ("sft.optimizer", "sgd"),
        ("sft.adam_beta1", 1.0),
        ("sft.adam_beta2", -0.1),
        ("sft.adam_epsilon", 0.0),
        ("train.adam_beta1", float("nan")),
        ("train.adam_epsilon", float("inf")),
        ("train.weight_decay_on", "weights"),
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
    lines = refused_value(tmp_path, key, value).splitlines()
    assert all(f"params.yaml: {key}" in line for line in lines)


@pytest.mark.parametrize("key", ["data.source", "train.dropout"])
def test_a_key_of_several_types_is_named_as_the_file_names_it(tmp_path: Path, key: str) -> None:
    lines = refused_value(tmp_path, key, 0.5).splitlines()
    assert all(line.startswith(f"{tmp_path / 'params.yaml'}: {key}: ") for line in lines)


def test_steps_that_would_cut_a_pair_are_refused(tmp_path: Path) -> None:
    changes: dict[str, object] = {"train.objective": "kto", "train.kto.shuffle": "pairs"}
    odd = changes | {"train.batch_size": 5, "train.grad_accum_steps": 3}
    for name in ("kto", "bco"):
        path = write_params(tmp_path / "params.yaml", odd | {"train.objective": name})
        wanted = "kto.shuffle: pairs needs an even number of examples a step, not 15"
        assert wanted in refused_params(path)
    path = write_params(tmp_path / "params.yaml", odd | {"train.objective": "dpo"})
    assert params.load(path).train.batch_size == 5
    even = changes | {"train.batch_size": 5, "train.grad_accum_steps": 2}
    assert params.load(write_params(tmp_path / "params.yaml", even)).train.batch_size == 5


def test_options_are_those_that_the_objective_declares(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    asked: dict[str, object] = {"gamma": 1, "alpha": 0.5}
    changes: dict[str, object] = {"train.objective": "simpo", "train.options": asked}
    assert params.load(write_params(path, changes)).train.options == asked
    message = refused_params(write_params(path, {**changes, "train.objective": "ipo"}))
    assert message == f"{path}: train.options: ipo has none; leave it empty: {{}}"
    message = refused_params(write_params(path, {**changes, "train.objective": "dpo"}))
    assert message.splitlines() == [
        f"{path}: train.options.{key}: unknown key; known are train.options.label_smoothing"
        for key in sorted(asked)
    ]
    asked = {"gamma": -1.0, "alpha": "much"}
    message = refused_params(write_params(path, {**changes, "train.options": asked}))
    assert message.splitlines() == [
        f"{path}: train.options.gamma: input should be greater than or equal to 0 (it is -1.0)",
        f"{path}: train.options.alpha: input should be a valid number (it is 'much')",
    ]
    assert "train.options: " in refused_value(tmp_path, "train.options", None)


@pytest.mark.parametrize(
    ("objective", "scored", "wanted"),
    [
        ("kto_kl", "responses", "mismatched"),
        ("kto_kl", "none", "mismatched"),
        ("kto_kl", "public_length", "mismatched"),
        ("ld_dpo", "responses", "public_length"),
        ("ld_dpo", "mismatched", "public_length"),
        ("dpo", "none", "responses"),
        ("kto", "none", "responses"),
    ],
)
def test_what_an_objective_needs_of_the_reference_is_scored(
    objective: str, scored: str, wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    changes: dict[str, object] = {"train.objective": objective, "reference.train": scored}
    message = refused_params(write_params(path, changes))
    assert message.startswith(f"{path}: reference.train: {scored} leaves out ")
    assert message.endswith(f"; set it to {wanted}")
    changes["reference.train"] = wanted
    assert params.load(write_params(path, changes)).reference.train == wanted


@pytest.mark.parametrize("name", ["dpo", "simpo"])
def test_more_of_the_reference_than_is_needed_is_no_error(name: str, tmp_path: Path) -> None:
    changes: dict[str, object] = {"train.objective": name, "reference.train": "mismatched"}
    path = write_params(tmp_path / "params.yaml", changes)
    assert params.load(path).train.objective == name


@pytest.mark.parametrize(
    ("key", "value"), [("data.rankings", {"margin": "scores"}), ("data.columns", {"margin": "gap"})]
)
def test_margins_are_asked_for_only_where_the_objective_takes_them(
    key: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    assert params.load(write_params(path, {key: value})).train.objective == "dpo"
    message = refused_params(write_params(path, {key: value, "train.objective": "ipo"}))
    assert message.startswith(f"{path}: {key}")
    assert "gives pairs margins, which ipo has no use for" in message


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_four_bits_on_another_device_than_a_gpu_are_refused(tmp_path: Path, device: str) -> None:
    changes: dict[str, object] = {"sft.lora": {"quantize": "4bit"}, "runtime.device": device}
    message = refused_params(write_params(tmp_path / "params.yaml", changes))
    assert f"sft.lora.quantize: 4bit needs a CUDA GPU, and runtime.device is {device}" in message
    params.load(write_params(tmp_path / "params.yaml", changes | {"runtime.device": "cuda"}))


def test_layers_are_compiled_only_where_shortcuts_are_tried(tmp_path: Path) -> None:
    changes: dict[str, object] = {"runtime.compile": True}
    assert params.load(write_params(tmp_path / "params.yaml", changes)).runtime.compile
    changes["runtime.shortcuts"] = False
    message = refused_params(write_params(tmp_path / "params.yaml", changes))
    assert "compile is a shortcut: set shortcuts to true, or compile to false" in message


def test_heads_must_divide_the_width(tmp_path: Path) -> None:
    message = refused_value(tmp_path, "model.scratch.n_head", 3)
    assert "model.scratch" in message
    assert "n_embd (128) must be a multiple of n_head (3)" in message


def test_a_missing_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    message = refused_params(tmp_path / "params.yaml")
    assert "no such file" in message
    assert "make repro RECIPE=demo-dpo" in message


def test_the_values_that_these_tests_start_from_hold_only_known_keys() -> None:
    assert params.Params.model_validate(PARAMS).seed == PARAMS["seed"]


# Those of both stages that train.
OPTIMIZATION = {
    "max_steps": None,
    "schedule": "linear",
    "optimizer": "adamw",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "weight_decay_on": "all",
}


def test_defaults_of_tracked_params_stay() -> None:
    """No stage tracks this module: with another default, what is cached would be of the old one."""
    demo = {"train_rows": 20_000, "test_rows": 2_000, "lengths": "short", "seed": 0}
    assert data_params.Demo().model_dump() == demo
    scratch = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 512, "vocab_size": 1024}
    assert params.Scratch().model_dump() == scratch
    assert params.Kto(target_kl=0.0).shuffle == "examples"
    assert params.Model(base="scratch", revision=None).weights == "auto"
    rankings = {"pairs": "all", "min_gap": 0.0, "margin": "none"}
    assert data_params.Rankings().model_dump() == rankings
    assert data_params.Splits().model_dump() == {"train": "train", "test": "test"}
    assert set(data_params.Columns().model_dump().values()) == {None}
    assert params.Train.model_fields["keep"].default == "last"
    fields = optimization.Optimization.model_fields
    assert {name: fields[name].default for name in OPTIMIZATION} == OPTIMIZATION
    assert optimization.Optimization.model_fields["lora"].default is None
    assert optimization.Lora().model_dump() == {
        "r": 8,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "target_modules": None,
        "use_dora": False,
        "use_rslora": False,
        "quantize": None,
    }
    has_default = {
        key
        for key in sections.leaf_keys(params.Params)
        if not key.startswith("runtime.") and optional(key)
    }
    assert has_default == {
        *(f"data.demo.{name}" for name in demo),
        *(f"model.scratch.{name}" for name in scratch),
        *(f"data.rankings.{name}" for name in data_params.Rankings.model_fields),
        *(f"data.splits.{name}" for name in data_params.Splits.model_fields),
        *(f"data.columns.{name}" for name in data_params.Columns.model_fields),
        "model.weights",
        "sft.lora",
        "train.keep",
        "train.kto.shuffle",
        *(f"{stage}.{name}" for stage in ("sft", "train") for name in OPTIMIZATION),
        "train.lora",
    }


def optional(key: str) -> bool:
    section: type[sections.Section] = params.Params
    *groups, name = key.split(".")
    for group in groups:
        section = section.model_fields[group].annotation  # type: ignore[assignment]
    return not section.model_fields[name].is_required()
