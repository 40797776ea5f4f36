"""The pipeline with SFT and training by LoRA: what it leaves, and what is made of it."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import project
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from preference.model import adapters, directories, loading
from preference.store import checksums
from tools import export, merge, policy

LORA = {
    "sft.lora": {"r": 2, "lora_alpha": 16, "target_modules": "all-linear"},
    "train.lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0.0},
    "train.learning_rate": 1e-2,
    "runtime.device": "cpu",
}
RECIPES = project.ROOT / "recipes" / "accelerate"


def run(name: str, **options: object) -> None:
    """A stage in this process."""
    AcceleratorState._reset_state(True)
    nothing: dict[str, Any] = {"policy": None, "reference": None, "output": None}
    importlib.import_module(f"stages.{name}").main(argparse.Namespace(**nothing | options))


def metrics(file: str = "results/metrics/final.json") -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(file).read_text())
    return values


@pytest.fixture
def by_lora(another: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(another)
    project.set_params(another, LORA)
    for name in ("sft_warmup", "reference", "train", "final_eval"):
        run(name)
    return another


def test_the_policy_is_an_adapter_and_its_numbers_are_those_of_the_merged_model(
    by_lora: Path,
) -> None:
    base, sft, trained = (Path("models", name) for name in ("base", "sft", "policy"))
    # Of SFT a whole model is left, which is no longer the base.
    before, after = (load_file(place / "model.safetensors") for place in (base, sft))
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    layers = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    assert changed == {name for name in before if name.endswith(layers)}
    assert not adapters.found(sft)
    assert not list(trained.glob("model*.safetensors"))
    assert directories.parts(trained) == [trained, sft]
    assert (trained / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()

    final = metrics()
    assert final["base_model"] == "scratch"
    assert abs(final["reward"]) > 1e-3
    curve = Path("results/curves/train/epochs/plots/metrics/reward.tsv").read_text().splitlines()
    assert float(curve[1].split("\t")[1]) == 0
    assert float(curve[-1].split("\t")[1]) == pytest.approx(final["reward"], rel=1e-3)

    merge.main(argparse.Namespace(to="whole", model=None))
    assert checksums.differing(Path("whole")) == []
    assert directories.parts(Path("whole")) == [Path("whole")]
    # The pipeline's own name for the reference's scores stays.
    run("final_eval", policy="whole", output=Path("out.json"))
    assert metrics("out.json") == final
    one, other = AutoModelForCausalLM.from_pretrained("whole"), loading.load(trained)
    for name, weight in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], weight)

    export.main(argparse.Namespace(to="out", model=None, format="safetensors", dtype="fp32"))
    with policy.whole(trained) as published:
        names = [file.name for file in policy.files(published)]
        assert "model.safetensors" in names
        assert not [name for name in names if name.startswith("adapter")]
        for place in (Path("out"), published):
            assert load_file(place / "model.safetensors").keys() == after.keys()
            for name, weight in load_file(place / "model.safetensors").items():
                assert torch.equal(weight, one.state_dict()[name])
    assert not published.exists()


def losses() -> np.ndarray:
    lines = Path("results/curves/train/steps/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    return np.array([float(line.split("\t")[1]) for line in lines])


DDP = ["accelerate.commands.launch", "--config_file", str(RECIPES / "ddp.yaml"), "-m"]
FSDP = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "tests/sharded.py"]


@pytest.mark.long
@pytest.mark.parametrize("launch", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_two_processes_give_what_one_gives(launch: list[str], by_lora: Path) -> None:
    expected, curve = load_file("models/policy/adapter_model.safetensors"), losses()
    paths = f"{by_lora}{os.pathsep}{project.ROOT / 'tests'}"
    for stage in ("sft_warmup", "train") if launch is FSDP else ("train",):
        command = [sys.executable, "-m", *launch, f"stages.{stage}"]
        done = project.run(by_lora, *command, PYTHONPATH=paths)
        assert done.returncode == 0, done.stdout + done.stderr
    found = load_file("models/policy/adapter_model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert (found[name] - weight).norm() <= 1e-3 * weight.norm(), name
    np.testing.assert_allclose(losses(), curve, rtol=1e-4)
