"""How near training comes to a plain product's rate, by architecture: same pairs, same machine.

Rounds alternate between the models; the plain product is measured in each. Writes
benchmarks/shapes.json.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from benchmarks import workload
from benchmarks.peak import matrix_peak
from benchmarks.run import HERE, Run
from benchmarks.run import machine as machine_of
from benchmarks.workload import Workload
from preference.core import params
from preference.core.progress import bar
from preference.report import markdown
from preference.runtime import devices
from preference.store.text import write_json

# SmolLM2-135M: queries share their keys by three, and a gate is in each block.
SMOLLM2 = LlamaConfig(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
)
COLUMNS = [("model", "left"), ("s / pair", "right"), ("TFLOP/s", "right")]
COLUMNS += [("plain product", "right"), ("share", "right")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--pairs", type=int, default=32, help="training pairs (default 32)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        gpt2 = workload.make(place / "gpt2", pairs=args.pairs, epochs=1)
        loads = {"GPT-2 124M": gpt2, "SmolLM2-135M": _like(gpt2, place, SMOLLM2)}
        context = devices.context(devices.accelerator(params.load(gpt2.params)))
        device, precision = context["device"], context["precision"]
        runs = {name: Run("dpo", "this", precision) for name in loads}
        peaks: list[float] = []
        with bar("benchmark", args.rounds * len(runs), "runs") as progress:
            for _ in range(args.rounds):
                peaks.append(matrix_peak(device, precision))
                for name, run in runs.items():
                    run.results.append(run.once(loads[name]))
                    progress.update()
        peak = statistics.median(peaks)
        rows = [row(name, run, loads[name], peak) for name, run in runs.items()]
    found = {"machine": machine_of(device), "precision": precision, "rounds": args.rounds}
    write_json(HERE / "shapes.json", {**found, "pairs": args.pairs, "rows": rows})
    cells = [
        [
            each["model"],
            f"{each['seconds_per_pair']:.3f}",
            f"{each['operations_per_second'] / 1e12:.3f}",
            f"{peak / 1e12:.3f}",
            f"{each['share']:.0%}",
        ]
        for each in rows
    ]
    print("\n".join(markdown.table(COLUMNS, cells)))


def row(name: str, run: Run, load: Workload, peak: float) -> dict[str, Any]:
    """Medians of training alone, without its reference's scores."""
    seconds = [result["seconds"] / load.pairs for result in run.results]
    config = json.loads((load.model / "config.json").read_text())
    operations = 3 * workload.useful_operations(load.prepared(), config)
    rate = operations / statistics.median(seconds)
    return {
        "model": name,
        "seconds_per_pair": statistics.median(seconds),
        "seconds_per_pair_rounds": seconds,
        "operations_per_second": rate,
        "matrix_peak_operations_per_second": peak,
        "share": rate / peak,
    }


def _like(other: Workload, place: Path, config: PreTrainedConfig) -> Workload:
    """The same pairs, token by token, for a model of another architecture with random weights."""
    model = place / "model"
    shutil.copytree(other.model, model, ignore=shutil.ignore_patterns("*.safetensors", "*.json"))
    for file in other.model.glob("tokenizer*.json"):
        shutil.copyfile(file, model / file.name)
    AutoModelForCausalLM.from_config(config).save_pretrained(model)
    return workload.make(place / "other", pairs=other.pairs, epochs=1, model=str(model))


if __name__ == "__main__":
    main()
