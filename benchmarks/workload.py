"""The pairs and the model that every system gets, made by the pipeline's own stages."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from preference.data.formats.hh import Pair, split
from preference.model.batches import BOTH
from preference.runtime import heap
from preference.store import checksums, tables
from preference.store.tables import Pairs

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "published-dpo-gpt2.yaml"
# GPT-2, 124M.
GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}
SETTINGS = "workload.json"


@dataclass(frozen=True)
class Workload:
    """What is trained on and how; one directory holds it, laid out as the pipeline's own.

    Attributes:
        pairs: training pairs, each of which every epoch visits once.
        step_size: examples of one optimizer step: pairs in DPO, responses in KTO.
    """

    directory: Path
    pairs: int
    epochs: int
    step_size: int
    max_length: int
    seed: int

    @property
    def model(self) -> Path:
        return self.directory / "models" / "base"

    @property
    def params(self) -> Path:
        return self.directory / "params.yaml"

    def prepared(self) -> Pairs:
        return tables.read_pairs(self.directory / "data" / "prepared" / "train.parquet")

    def texts(self) -> list[Pair]:
        """Prompt, chosen and rejected as text, of the same pairs as `prepared`."""
        raw = pq.read_table(self.directory / "data" / "raw" / "train.parquet")
        found = [
            split(raw["chosen"][row].as_py(), raw["rejected"][row].as_py())
            for row in self.prepared().rows.tolist()
        ]
        return [pair for pair in found if isinstance(pair, Pair)]

    def save(self) -> None:
        values = {**vars(self), "directory": str(self.directory)}
        (self.directory / SETTINGS).write_text(json.dumps(values))

    @staticmethod
    def load(directory: Path) -> "Workload":
        values = json.loads((directory / SETTINGS).read_text())
        return Workload(**{**values, "directory": directory})


def make(
    directory: Path,
    *,
    pairs: int,
    epochs: int,
    step_size: int = 16,
    data: str | None = None,
    model: str | None = None,
    size: dict[str, int] = GPT2,
) -> Workload:
    """Make, or take what is there: GPT-2 124M with random weights, pairs of hh-rlhf's lengths.

    Args:
        data: files or a directory of real pairs in place of the generator's.
        model: a directory with config and tokenizer in place of the generator's vocabulary.
        size: of the model, under GPT-2's names, where none is given.
    """
    yaml = YAML()
    values = yaml.load(RECIPE)
    values["data"].update(source=data or "demo", revision=None, train_pairs=pairs, eval_pairs=8)
    values["data"]["demo"].update(lengths="hh-rlhf", train_rows=pairs + 64, test_rows=64)
    values["model"].update(base=model or "scratch", revision=None, scratch=size)
    values["train"].update(epochs=epochs, batch_size=step_size, grad_accum_steps=1, dropout=False)
    workload = Workload(
        directory, pairs, epochs, step_size, values["data"]["max_length"], values["seed"]
    )
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    yaml.dump(values, workload.params)
    for stage in ("fetch_data", "fetch_model", "prepare"):
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}"], cwd=directory, env=environment(), check=True
        )
    if model is None:
        # The architecture as published, and not the demo's faster spelling of its activation.
        config = workload.model / "config.json"
        settings = json.loads(config.read_text()) | {"activation_function": "gelu_new"}
        config.write_text(json.dumps(settings))
        checksums.seal(workload.model)
    workload.save()
    return workload


def environment(*, tunables: bool = False, keep_freed: bool = False) -> dict[str, str]:
    """Of a run: offline, without progress bars.

    Args:
        tunables: start the process as dvc.yaml starts the stages that train.
        keep_freed: also give the allocator what `preference.runtime.heap` gives it.
    """
    found = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if tunables or keep_freed:
        found |= {"GLIBC_TUNABLES": heap.TUNABLES}
    if keep_freed:
        limit = str(2**62)
        found |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": limit}
        found |= {"MALLOC_TOP_PAD_": str(heap.PAD), "MALLOC_ARENA_MAX": "1"}
    return found


def useful_operations(pairs: Pairs, config: dict[str, Any]) -> float:
    """Floating-point operations of one forward pass that a pair needs, on average.

    Each distinct token once through the blocks, the output layer on response tokens only,
    attention to the positions that count; two operations a multiplication. A training step needs
    three times as many (the backward pass is two products for each one forward).
    """
    width, layers = config["n_embd"], config["n_layer"]
    # The prompt tokens that both sides see are one; a pair cut differently needs its own.
    same = pairs.chosen_prompt_tokens == pairs.rejected_prompt_tokens
    prompts = {side: getattr(pairs, f"{side}_prompt_tokens").astype(float) for side in BOTH}
    answers = {side: getattr(pairs, side).lengths.astype(float) for side in BOTH}
    prompt = prompts["chosen"] + np.where(same, 0, prompts["rejected"])
    response = answers["chosen"] + answers["rejected"]
    attended = sum(
        prompts[side] * answers[side] + answers[side] * (answers[side] + 1) / 2 for side in BOTH
    ) + sum(
        prompts[side] * (prompts[side] + 1) / 2 * (1 if side == "chosen" else ~same)
        for side in BOTH
    )
    blocks = 12 * layers * width**2 * (prompt + response)
    output = width * config["vocab_size"] * response
    attention = 2 * layers * width * attended
    return 2 * float(np.mean(blocks + output + attention))
