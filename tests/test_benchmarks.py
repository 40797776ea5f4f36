"""The benchmark's arithmetic by hand, and one tiny run of each system."""

import json
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import peak, run, shapes, table, workload
from benchmarks.workload import Workload

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 32, "n_positions": 512, "vocab_size": 400}


def test_useful_operations_by_hand() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9])], 10)
    config = {"model_type": "gpt2", "n_embd": 4, "n_layer": 3, "vocab_size": 10}
    blocks = 12 * 3 * 4**2 * 5
    output = 4 * 10 * 3
    # Positions seen: prompt 1 + 2, chosen 3 + 4, rejected 3; products with keys and with values.
    attention = 2 * 3 * 4 * (1 + 2 + 3 + 4 + 3)
    assert workload.useful_operations(pairs, config) == 2 * (blocks + output + attention)


def test_pairs_cut_differently_need_their_own_prompts() -> None:
    pairs = naive.make_pairs([([1, 2, 3], [4, 5, 6], [7])], 5)
    config = {"model_type": "gpt2", "n_embd": 1, "n_layer": 1, "vocab_size": 0}
    sums = [np.arange(1, 6).sum(), np.arange(1, 5).sum()]
    expected = 2 * (12 * (5 + 4) + 2 * sum(sums))
    assert workload.useful_operations(pairs, config) == expected


def test_useful_operations_of_a_llama_go_with_its_weights() -> None:
    pairs = naive.make_pairs([([5, 6], [7, 8], [9])], 10)
    config = {**LlamaConfig(**workload.SHAPES["smollm2"]).to_dict(), "head_dim": 32}
    small = LlamaConfig(**{**config, "num_hidden_layers": 2, "vocab_size": 10})
    layers = LlamaForCausalLM(small).model.layers
    weights = sum(w.numel() for w in layers.parameters() if w.dim() == 2)
    attention = 2 * 2 * (9 * 32) * (1 + 2 + 3 + 4 + 3)
    expected = 2 * (weights * 5 + 576 * 10 * 3 + attention)
    assert workload.useful_operations(pairs, small.to_dict()) == expected


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return workload.make(tmp_path_factory.mktemp("w"), pairs=8, epochs=1, step_size=4, size=TINY)


TRL = {"batch_size": 2, "precompute": True}


@pytest.mark.parametrize(
    ("system", "work", "options"),
    [
        ("this", "dpo", {}),
        pytest.param("this", "kto", {"shuffle": "pairs"}, marks=pytest.mark.long),
        ("trl", "dpo", TRL),
        pytest.param("trl", "kto", TRL, marks=pytest.mark.long),
        ("original", "dpo", {}),
    ],
)
def test_each_system_runs(
    system: str, work: str, options: dict[str, object], tiny: Workload
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.worker"),
            *(system, work, str(tiny.directory), "fp32", json.dumps(options)),
        ],
        env=workload.environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 1e8
    assert (found["reference_seconds"] > 0) == (system != "original")


def test_the_committed_table_is_that_of_the_committed_results() -> None:
    page = (workload.ROOT / "benchmarks" / "README.md").read_text()
    results = Path(workload.ROOT / "benchmarks" / "results.json")
    assert table.inserted(page, table.markdown(json.loads(results.read_text()))) == page
    found = json.loads((workload.ROOT / "benchmarks" / "shapes.json").read_text())
    assert table.inserted(page, shapes.shown(found), "shapes") == page


def test_a_gpus_share_of_what_its_maker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    results = json.loads((workload.ROOT / "benchmarks/results.json").read_text())
    assert "MFU" not in table.markdown(results)
    row = {**results["rows"][0], "share_of_peak": 0.5}
    found = {
        **results,
        "rows": [row],
        "model": "a Llama",
        "matrix_peak_operations_per_second": 600e12,
        "nominal_operations_per_second": peak.nominal(),
    }
    assert "| 50% (MFU 30%) |" in table.markdown(found)
    assert "; a Llama; " in table.markdown(found)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 PCIe")
    assert peak.nominal() == 756e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Another")
    assert peak.nominal() is None


def test_the_peers_packages_are_tried_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run._installed() == []
    monkeypatch.setattr(run, "find_spec", lambda name: name)
    fused, flash = {"liger": True}, {"attention": "flash_attention_2"}
    assert run._installed() == [fused, flash, fused | flash]


@pytest.mark.long
def test_the_same_pairs_for_another_shape(tiny: Workload, tmp_path: Path) -> None:
    other = workload.like(tiny, tmp_path / "other", "smollm2")
    ours, theirs = tiny.prepared(), other.prepared()
    assert all(map(np.array_equal, ours.prompts, theirs.prompts))
    assert all(map(np.array_equal, ours.responses, theirs.responses))
    assert json.loads((other.model / "config.json").read_text())["num_key_value_heads"] == 3
    assert other.step_size == tiny.step_size


WAYS = ("all weights", "LoRA")


@pytest.mark.long
def test_the_memory_of_a_step_is_measured_each_way(tmp_path: Path) -> None:
    size = ("--layers", "1", "--width", "64", "--vocabulary", "100", "--out", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.lora", *size],
        env=workload.environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out").read_text())
    # Two norms of a layer and the last one, embedding and output layer, keys of 8 heads out of 32.
    layer = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 224
    whole = 2 * 100 * 64 + 3 * 64 + layer
    added = 16 * (2 * (64 + 64) + 2 * (64 + 16) + 3 * (64 + 224))
    assert [found[way]["weights"] for way in WAYS] == [whole, whole + added]
    assert [found[way]["trained"] for way in WAYS] == [whole, added]
    held = [4 * whole, 4 * (whole + added)]
    assert [found[way]["held_bytes"] for way in WAYS] == held
    assert all(found[way]["peak_bytes"] > 1e8 for way in WAYS)


def test_the_memory_that_docs_show_is_what_was_measured() -> None:
    found = json.loads((workload.ROOT / "benchmarks/lora.json").read_text())
    page = (workload.ROOT / "docs/model.md").read_text()
    for way in WAYS:
        trained, held, peak = (found[way][key] for key in ("trained", "held_bytes", "peak_bytes"))
        row = f"| {way} | {trained:,} | {held / 1e9:.2f} GB | {peak / 1e9:.2f} GB |"
        assert row in page, row
