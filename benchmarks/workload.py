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
from ruamel.yaml import YAML
from transformers import LlamaConfig, LlamaForCausalLM

from preference.runtime import heap
from preference.store import checksums, examples, texts
from preference.store.examples import Examples
from tools.use_recipe import merged

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "published-dpo-gpt2.yaml"
# GPT-2, 124M.
GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}
SETTINGS = "workload.json"
# Llamas: queries share their keys, and a gate is in each block.
SHAPES = {
    "smollm2": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    # 8 of the 32 layers of an 8B model, with a vocabulary in proportion.
    "llama-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 8,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32064,
        "max_position_embeddings": 2048,
    },
}
NAMES = {
    "gpt2": "GPT-2 124M",
    "smollm2": "SmolLM2-135M",
    "llama-8b": "8 of 32 layers of an 8B Llama",
}


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

    @property
    def table(self) -> Path:
        return self.directory / "data" / "prepared" / "train.parquet"

    def prepared(self) -> Examples:
        return examples.read(self.table)

    def texts(self) -> list[tuple[str, str, str]]:
        """Prompt, chosen and rejected as text, of the same pairs as `prepared`."""
        return [
            (text.prompt, text.responses[chosen], text.responses[rejected])
            for text in texts.read(self.table)
            for chosen, rejected in text.pairs
        ]

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
    values = merged(RECIPE)
    values["data"].update(source=data or "demo", revision=None, train_pairs=pairs, eval_pairs=8)
    values["data"]["demo"].update(lengths="hh-rlhf", train_rows=pairs + 64, test_rows=64)
    values["model"].update(base=model or "scratch", revision=None, scratch=size)
    values["train"].update(epochs=epochs, batch_size=step_size, grad_accum_steps=1, dropout=False)
    workload = Workload(
        directory, pairs, epochs, step_size, values["data"]["max_length"], values["seed"]
    )
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    YAML().dump(values, workload.params)
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


def like(other: Workload, directory: Path, shape: str, *, data: str | None = None) -> Workload:
    """The same pairs, token by token, for a model of another shape with random weights.

    Args:
        data: what `other` was made of.
    """
    model = directory / "model"
    shutil.copytree(other.model, model, ignore=shutil.ignore_patterns("*.safetensors", "*.json"))
    for file in other.model.glob("tokenizer*.json"):
        shutil.copyfile(file, model / file.name)
    LlamaForCausalLM(LlamaConfig(**SHAPES[shape])).save_pretrained(model)
    return make(
        directory / "work",
        pairs=other.pairs,
        epochs=other.epochs,
        step_size=other.step_size,
        data=data,
        model=str(model),
    )


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


def useful_operations(examples: Examples, config: dict[str, Any]) -> float:
    """Floating-point operations of one forward pass that a pair needs, on average.

    Each distinct token once through the blocks, the output layer on response tokens only,
    attention to the positions that count; two operations a multiplication. A training step needs
    three times as many (the backward pass is two products for each one forward).
    """
    layers, width, attending, weights = _shape(config)
    pairs = examples.index.pairs
    prompts = examples.prompt_tokens[pairs].astype(float)
    answers = examples.responses.lengths[pairs].astype(float)
    # The prompt tokens that both sides see are one; a pair cut differently needs its own.
    own = np.stack([np.ones(len(pairs)), prompts[:, 0] != prompts[:, 1]], axis=1)
    seen_by_answers = prompts * answers + answers * (answers + 1) / 2
    attended = seen_by_answers + own * prompts * (prompts + 1) / 2
    blocks = layers * weights * (own * prompts + answers)
    output = width * config["vocab_size"] * answers
    attention = 2 * layers * attending * attended
    return 2 * float((blocks + output + attention).sum(axis=1).mean())


def _shape(config: dict[str, Any]) -> tuple[int, int, int, int]:
    """Layers, width, that of all queries together, and a block's weights, of GPT-2 or a Llama."""
    if config["model_type"] == "gpt2":
        width = config["n_embd"]
        return config["n_layer"], width, width, 12 * width**2
    width, heads = config["hidden_size"], config["num_attention_heads"]
    queries = heads * (config.get("head_dim") or width // heads)
    keys = queries * config["num_key_value_heads"] // heads
    projections = 2 * width * (queries + keys) + 3 * width * config["intermediate_size"]
    return config["num_hidden_layers"], width, queries, projections
