"""The optimization of a stage: what its params may be."""

from pathlib import Path

import pytest
from data_helpers import refused_params, refused_value, write_params

from preference.core import params
from preference.core.optimization import Lora


@pytest.mark.parametrize("stage", ["sft", "train"])
def test_steps_of_no_epoch_are_refused(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "params.yaml"
    none: dict[str, object] = {f"{stage}.epochs": 0}
    message = refused_params(write_params(path, none | {f"{stage}.max_steps": 5}))
    assert message == (
        f"{path}: {stage}: max_steps: 5 asks for steps, and epochs: 0 for none; raise epochs, or "
        "set max_steps to null"
    )
    assert params.load(write_params(path, none)).sft.max_steps is None


def test_lora_has_the_names_and_defaults_of_pefts_own_config() -> None:
    from peft import LoraConfig

    own = LoraConfig()
    for name, value in Lora().model_dump(exclude={"quantize"}).items():
        assert getattr(own, name) == value, name


@pytest.mark.parametrize("value", [None, {}, {"r": 4, "target_modules": ["q_proj", "v_proj"]}])
def test_lora_is_a_group_or_null(tmp_path: Path, value: dict[str, object] | None) -> None:
    path = write_params(tmp_path / "params.yaml", {"train.lora": value})
    asked = None if value is None else Lora.model_validate(value)
    assert params.load(path).train.lora == asked
    assert params.load(path).sft.lora is None


LORAS: dict[str, tuple[object, str]] = {
    "another name": (
        {"alpha": 16},
        "train.lora.alpha: unknown key; did you mean train.lora.lora_alpha?",
    ),
    "no group": (16, "train.lora: input should be a valid dictionary or instance of Lora"),
    "no rank": ({"r": 0}, "train.lora.r: input should be greater than or equal to 1 (it is 0)"),
    "all is dropped": ({"lora_dropout": 1.0}, "train.lora.lora_dropout: input should be less"),
    "no modules": ({"target_modules": []}, "train.lora.target_modules: "),
    "a pattern": ({"target_modules": "q.*"}, "train.lora.target_modules: "),
    "other bits": ({"quantize": "8bit"}, "train.lora.quantize: input should be '4bit'"),
}


@pytest.mark.parametrize("case", LORAS)
def test_what_lora_does_not_take_is_refused_by_its_key(tmp_path: Path, case: str) -> None:
    value, message = LORAS[case]
    told = refused_value(tmp_path, "train.lora", value).splitlines()
    assert all(f"params.yaml: {message}" in line for line in told), told
