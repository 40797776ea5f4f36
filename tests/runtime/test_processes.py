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
import sessions
import torch
from gloo import free_port, in_two_processes, shard
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scorers import PACKED
from torch.distributed.fsdp import FSDPModule

from preference.model import batches, layers
from preference.model.scorer import ResponseLogps
from preference.runtime.processes import deal, divided
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


# Stands for a scheduler: the same command on each of two hosts.
ON_TWO_HOSTS = """#!/bin/sh
"$@" & other=$!
"$@" && wait $other
"""


def test_launched_in_two_processes_dvc_gives_what_one_gives(
    another: Path, finished: Path, tmp_path: Path
) -> None:
    project.set_params(another, {"runtime.device": "cpu"})
    start = f"accelerate launch --config_file {RECIPES / 'ddp.yaml'} --num_processes 2"
    scheduler = tmp_path / "on-two-hosts"
    scheduler.write_text(ON_TWO_HOSTS)
    scheduler.chmod(0o755)
    meeting = f"--nnodes 2 --rdzv_backend c10d --rdzv_endpoint localhost:{free_port()}"
    hosts = f"{scheduler} torchrun {meeting} --nproc_per_node 1"
    # SFT is the same loop, the two evaluations are the same scoring.
    for stage, launch, bar in (("reference", start, "reference: train"), ("train", hosts, "train")):
        done = project.run(
            another, "dvc", "repro", "-f", "-s", stage, LAUNCH=launch, SHELL="/bin/sh"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # One progress bar, though two processes work.
        assert done.stderr.count(f"{bar}: 100%") == 1
    compare(another, finished)


@pytest.mark.long
@pytest.mark.parametrize("stages", [["train"], ["sft_warmup", "reference", "train"]])
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


LAYERS = 8


def sharded_model(precision: str) -> tuple[list[float], list[str], list[float]]:
    """Sums of log-probabilities, the units, and what share of the weights is gathered by layer."""
    accelerator = sessions.make(precision=precision).accelerator
    shard(accelerator)
    model = naive.llama(layers=LAYERS)
    pairs = naive.make_pairs(naive.random_texts(3, longest=50), 64)
    layers.widen(model)
    scorer = divided(accelerator, ResponseLogps(model, PACKED))
    units = {n: m for n, m in scorer.named_modules() if isinstance(m, FSDPModule)}
    states = [m._get_fsdp_state()._fsdp_param_group for m in units.values()]
    groups = [group for group in states if group]
    assert len(groups) == len(units)
    sizes = [sum(p._orig_size.numel() for p in group.fsdp_params) for group in groups]
    shares: list[float] = []

    def gathered(*_: object) -> None:
        there = [size for size, g in zip(sizes, groups, strict=True) if g.is_unsharded]
        shares.append(sum(there) / sum(sizes))

    for layer in model.model.layers:
        layer.register_forward_hook(gathered)
    with torch.no_grad(), accelerator.autocast():
        sums = scorer(batches.make(pairs, [*pairs.index.pairs], "packed"))
    assert sums.dtype == torch.float32
    return sums.tolist(), [name for name in units if name], shares


def test_sharded_in_bf16_sums_are_in_float32_and_layers_are_gathered_one_by_one() -> None:
    pairs = naive.make_pairs(naive.random_texts(3, longest=50), 64)
    model = naive.llama(layers=LAYERS)
    exact = naive.score(model, pairs).logps
    alone = ResponseLogps(model, PACKED)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = alone(batches.make(pairs, [*pairs.index.pairs], "packed")).numpy()
    for sums, units, shares in in_two_processes(lambda: sharded_model("bf16")):
        assert len(units) == LAYERS
        # The one in use, the next one, and what is in no layer.
        assert len(shares) == LAYERS
        assert max(shares) < 0.5
        # bf16 has a grid of 1 where sums are beyond 128, and of 0.5 beyond 64.
        assert np.abs(exact).max() > 128
        assert np.abs(sums - exact).max() < 2 * np.abs(rounded - exact).max()


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


@pytest.mark.long
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
