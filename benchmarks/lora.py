"""Memory of one step of DPO on layers of the size of an 8B Llama: all weights, and by LoRA.

Each way is a process of its own. Its model has random weights, a few layers and a small
vocabulary; what a whole one takes follows by arithmetic.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import workload
from preference.core import params
from preference.core.optimization import Lora
from preference.losses import task
from preference.model import lora
from preference.model.abilities import Abilities
from preference.model.scorer import ResponseLogps
from preference.runtime.checkpoints import Checkpoints
from preference.runtime.session import Session
from preference.store.examples import Examples, Ragged
from preference.store.index import Index
from preference.store.scores import Scores
from preference.store.text import write_json
from preference.training import loop

HERE = Path(__file__).resolve().parent
SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 512,
}
# In float32: a CPU without products in bf16 takes minutes for them.
WAYS: dict[str, dict[str, Any] | None] = {
    "all weights": None,
    "LoRA": {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora", description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=2000)
    parser.add_argument("--width", type=int, default=SHAPE["hidden_size"], help="for a quick try")
    parser.add_argument("--tokens", type=int, default=16, help="of a pair; its prompt has half")
    parser.add_argument("--out", type=Path, default=HERE / "lora.json", help="file to write")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child, args)))
        return
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.lora", *sys.argv[1:], "--child", way]
        done = subprocess.run(
            command, env=workload.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
        found[way] = json.loads(done.stdout.splitlines()[-1])
        print(way, found[way], flush=True)
    write_json(args.out, {"layers": args.layers, "tokens": args.tokens, **found})


def measure(way: str, args: argparse.Namespace) -> dict[str, float]:
    """What one step takes, once the model is there.

    Returns:
        Weights in all and those that train, the bytes that hold them, the most memory that the
        process had during the step, and seconds.
    """
    asked = WAYS[way]
    settings = params.load(workload.ROOT / "params.yaml")
    once = settings.train.model_dump() | {"epochs": 1, "batch_size": 1, "lora": asked}
    settings = settings.model_copy(update={"train": params.Train.model_validate(once)})
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    run = Session("train", settings, accelerator, Checkpoints("train", accelerator), 10_000)
    size = SHAPE | {"hidden_size": args.width, "intermediate_size": args.width * 7 // 2}
    shape = {"num_hidden_layers": args.layers, "vocab_size": args.vocabulary}
    model = LlamaForCausalLM(LlamaConfig(**size, **shape))
    if asked:
        lora.inject(model, Lora(**asked), settings.seed, accelerator, "train.lora")
    trained, total = lora.count(model)
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    pair, reference = _pair(args.tokens, args.vocabulary)
    forget_peak()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        loop.fit(
            ResponseLogps(model, Abilities("packed", bare_output=True)),
            task(pair, reference, settings),
            settings.train,
            run,
            curves=Path("curves"),
            evaluate=lambda model: {},
        )
        os.chdir(workload.ROOT)
    seconds = time.perf_counter() - began
    return {
        "weights": total,
        "trained": trained,
        "held_bytes": held,
        "peak_bytes": peak(),
        "seconds": round(seconds, 1),
    }


def forget_peak() -> None:
    """Let the kernel count the most memory of this process from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most memory of this process since then, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024


def _pair(tokens: int, vocabulary: int) -> tuple[Examples, Scores]:
    """One pair of random tokens, and scores of a reference."""
    random = np.random.default_rng(0)
    response = tokens // 4
    lengths = np.array([response, response])
    index = Index(np.arange(1), np.zeros(2, int), np.array([[0, 1]]), np.full(2, -1), np.ones(2))
    prompts = Ragged.of(random.integers(vocabulary, size=tokens // 2), np.array([tokens // 2]))
    responses = Ragged.of(random.integers(vocabulary, size=2 * response), lengths)
    pair = Examples(index, prompts, responses, np.full(2, tokens // 2))
    return pair, Scores(index, np.full(2, -100.0), lengths.astype(np.int32))


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    main()
