"""Two processes and one: the same scores, weights, curves and metrics, written once."""

import json
import os
import shutil
import sys
from pathlib import Path

import naive
import numpy as np
import project
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from preference.model import layers
from preference.runtime.processes import deal
from preference.store import scores

RECIPES = project.ROOT / "recipes" / "accelerate"


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 9))
def test_each_is_dealt_once_and_all_get_nearly_the_same(sizes: list[int], processes: int) -> None:
    shares = deal(np.array(sizes, dtype=int), processes)
    assert len(shares) == processes
    assert sorted(int(i) for share in shares for i in share) == list(range(len(sizes)))
    work = [sum(sizes[i] for i in share) for share in shares]
    assert max(work) - min(work) <= max(sizes, default=0)


def test_one_process_keeps_the_order() -> None:
    (share,) = deal(np.array([3, 9, 1]), 1)
    assert share.tolist() == [0, 1, 2]


def losses(directory: Path) -> np.ndarray:
    file = directory / "results/curves/train/steps/plots/metrics/loss.tsv"
    return np.array([float(line.split("\t")[1]) for line in file.read_text().splitlines()[1:]])


def compare(found: Path, expected: Path) -> None:
    """Weights, scores, losses by step and metrics agree to rounding, carried through training."""
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-4)
    for model in ("sft", "policy"):
        ours, theirs = (
            load_file(base / "models" / model / "model.safetensors") for base in (found, expected)
        )
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            assert (ours[name] - weight).norm() <= 1e-3 * weight.norm(), name
    for name in ("reference/train", "reference/test", "scores/baseline", "scores/final"):
        one, other = (scores.read(base / f"data/{name}.parquet") for base in (found, expected))
        assert one.index.same_as(other.index)
        assert one.tokens.tolist() == other.tokens.tolist()
        np.testing.assert_allclose(one.logps, other.logps, rtol=1e-4)
    metrics = (
        json.loads((base / "results/metrics/final.json").read_text()) for base in (found, expected)
    )
    for (name, value), wanted in zip(*(m.items() for m in metrics), strict=True):
        wanted_name, wanted_value = wanted
        assert name == wanted_name
        near = wanted_value if isinstance(value, str) else pytest.approx(wanted_value, abs=1e-3)
        assert value == near, name


def test_launched_in_two_processes_dvc_gives_what_one_gives(another: Path, finished: Path) -> None:
    project.set_params(another, {"runtime.device": "cpu"})
    launch = f"accelerate launch --config_file {RECIPES / 'ddp.yaml'} --num_processes 2"
    # SFT is the same loop, the two evaluations are the same scoring.
    for stage in ("reference", "train"):
        done = project.run(
            another, "dvc", "repro", "-f", "-s", stage, LAUNCH=launch, SHELL="/bin/sh"
        )
        assert done.returncode == 0, done.stdout + done.stderr
    # One progress bar, though two processes work.
    assert done.stderr.count("train: 100%") == 1
    compare(another, finished)


@pytest.mark.parametrize(
    "stages",
    [["train"], pytest.param(["sft_warmup", "reference", "train"], marks=pytest.mark.long)],
)
def test_sharded_weights_give_what_whole_ones_give(
    stages: list[str], another: Path, finished: Path
) -> None:
    project.set_params(another, {"runtime.device": "cpu"})
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for stage in stages:
        done = project.run(
            another,
            *program,
            str(project.ROOT / "tests" / "sharded.py"),
            f"stages.{stage}",
            PYTHONPATH=f"{another}{os.pathsep}{project.ROOT / 'tests'}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    compare(another, finished)


@pytest.mark.long
def test_error_is_told_once(another: Path) -> None:
    (another / "data/prepared/test.parquet").unlink()
    done = project.run(
        another,
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "stages.baseline_eval",
    )
    assert done.returncode != 0
    assert done.stderr.count("error: data/prepared/test.parquet: no such file") == 1


def test_gradient_checkpointing_changes_no_result(another: Path, finished: Path) -> None:
    project.set_params(another, {"runtime.gradient_checkpointing": True})
    shutil.rmtree(another / "models/policy")
    done = project.run(another, sys.executable, "-m", "stages.train")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        load_file(base / "models/policy/model.safetensors") for base in (another, finished)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_gradient_checkpointing_computes_layers_again() -> None:
    model, calls = naive.gpt2().eval(), []
    layers.checkpoint_gradients(model)
    block = model.transformer.h[0]
    block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    loss = model(input_ids=torch.arange(6)[None]).logits.sum()
    assert len(calls) == 1
    loss.backward()
    assert len(calls) == 2
