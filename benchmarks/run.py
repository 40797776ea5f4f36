"""The benchmark: this pipeline, the peer library and the published script's way, same work.

Every run is a process of its own. Rounds alternate between the systems, so that a machine that
slows down slows all of them; medians are reported. The peer's settings are searched first, on the
same pairs, and its fastest are measured.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
import trl

from benchmarks import table, workload
from benchmarks.peak import matrix_peak, nominal
from benchmarks.workload import Workload
from preference.core.params import Params
from preference.core.progress import bar
from preference.runtime import devices
from preference.store.text import write_json
from tools.use_recipe import merged

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


@dataclass
class Run:
    """One system on one kind of work, with the results of its rounds."""

    work: str
    system: str
    precision: str
    options: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, float]] = field(default_factory=list)

    def once(self, load: Workload) -> dict[str, float]:
        command = [self.system, self.work, str(load.directory), self.precision]
        environment = workload.environment(
            tunables=self.system == "this" and self.work != "scoring",
            keep_freed=bool(self.options.get("allocator")),
        )
        # What a run compiles, no other finds.
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.worker", *command, json.dumps(self.options)],
                env=environment | {"TORCHINDUCTOR_CACHE_DIR": cache},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def row(self, load: Workload, device: str, useful: float, peak: float) -> dict[str, Any]:
        """Medians over the rounds; a pair's seconds are those of one epoch."""
        epochs = 1 if self.work == "scoring" else load.epochs
        visits = load.pairs * epochs
        # Ahead of training, the reference is scored once for all epochs.
        seconds = [(r["seconds"] + r["reference_seconds"]) / visits for r in self.results]
        training = [r["seconds"] / visits for r in self.results]
        typical = statistics.median(seconds)
        operations = useful if self.work == "scoring" else useful * (3 + 1 / load.epochs)
        return {
            "work": self.work,
            "system": self.system,
            "seconds_per_pair": typical,
            "seconds_per_pair_without_reference": statistics.median(training),
            "seconds_per_pair_rounds": seconds,
            "peak_bytes": statistics.median(r["peak_bytes"] for r in self.results),
            "device": device,
            "precision": self.precision,
            "share_of_peak": operations / typical / peak,
            "options": self.options,
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--data", help="files or a directory of real pairs (default: generated)")
    parser.add_argument("--model", help="directory with config and tokenizer (default: GPT-2 124M)")
    parser.add_argument("--work", nargs="+", choices=table.WORK, default=list(table.WORK))
    parser.add_argument("--shape", choices=workload.NAMES, default="gpt2", help="of random weights")
    parser.add_argument("--pairs", type=int, help="training pairs (default 64; on a GPU 1024)")
    parser.add_argument("--step-size", type=int, help="pairs of a step (default 16; on a GPU 64)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="file to write")
    args = parser.parse_args()
    if args.model and args.shape != "gpt2":
        parser.error("--shape is of random weights, and --model names a model: take one of them")
    settings = Params.model_validate(merged(workload.RECIPE))
    context = devices.context(devices.accelerator(settings))
    device, precision = context["device"], context["precision"]
    data, model = (value and str(Path(value).resolve()) for value in (args.data, args.model))
    pairs = args.pairs or (64 if device == "cpu" else 1024)
    step_size = args.step_size or (16 if device == "cpu" else 64)
    with tempfile.TemporaryDirectory() as directory:

        def make(name: str, pairs: int, epochs: int) -> Workload:
            made = workload.make(
                Path(directory) / name,
                pairs=pairs,
                epochs=epochs,
                step_size=step_size,
                data=data,
                model=model,
            )
            if args.shape == "gpt2":
                return made
            place = Path(directory) / f"{name}-{args.shape}"
            return workload.like(made, place, args.shape, data=data)

        load, small = make("work", pairs, args.epochs), make("search", step_size, 1)
        tried = [run for work in args.work for run in _search(work, small, device, precision)]
        searched = [
            {"work": run.work, "precision": run.precision, **run.options, **run.results[0]}
            for run in tried
        ]
        runs = [run for work in args.work for run in _runs(work, tried, device, precision)]
        peaks: list[float] = []
        with bar("benchmark", args.rounds * len(runs), "runs") as progress:
            for _ in range(args.rounds):
                peaks.append(matrix_peak(device, precision))
                for run in runs:
                    run.results.append(run.once(load))
                    progress.update()
                # What is measured is kept, should a later round not come to its end.
                found = _summary(load, runs, device, statistics.median(peaks))
                named = args.model or workload.NAMES[args.shape]
                found |= {"data": args.data or "generated", "model": named, "searched": searched}
                write_json(args.out, found)
    shown = table.markdown(found)
    # Other shapes are looked at, and not what the README speaks of.
    if args.shape == "gpt2" and not args.model:
        page = README.read_text(encoding="utf-8")
        README.write_text(table.inserted(page, shown), encoding="utf-8")
    print(shown)


def _runs(work: str, tried: list[Run], device: str, precision: str) -> list[Run]:
    """The systems that are compared on one kind of work."""
    runs = [Run(work, "this", precision)]
    if work == "scoring":
        return [
            *runs,
            Run(work, "original", "fp32"),
            Run(work, "original", "fp32", {"reference": False}),
        ]
    peer = min((run for run in tried if run.work == work), key=_cost)
    runs.append(Run(work, "trl", peer.precision, peer.options))
    if device == "cpu" and work == "dpo":
        # What of the difference is this pipeline's way with memory, and not its own work.
        runs.append(Run(work, "trl", peer.precision, {**peer.options, "allocator": True}))
    if work == "kto":
        return [*runs, Run(work, "this", precision, {"shuffle": "pairs"})]
    return [*runs, Run(work, "original", "fp32")]


def _summary(load: Workload, runs: list[Run], device: str, peak: float) -> dict[str, Any]:
    examples = load.prepared()
    chosen, rejected = examples.responses.lengths[examples.index.pairs].T
    config = json.loads((load.model / "config.json").read_text())
    useful = workload.useful_operations(examples, config)
    return {
        "machine": machine(device),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, trl)},
        "pairs": load.pairs,
        "epochs": load.epochs,
        "rounds": len(runs[0].results),
        "tokens_per_pair": {
            "prompt": float(examples.prompts.lengths.mean()),
            "chosen": float(chosen.mean()),
            "rejected": float(rejected.mean()),
        },
        "useful_operations_per_pair_forward": useful,
        "step_size": load.step_size,
        "matrix_peak_operations_per_second": peak,
        "nominal_operations_per_second": nominal(),
        "rows": [run.row(load, device, useful, peak) for run in runs],
    }


def _search(work: str, load: Workload, device: str, precision: str) -> list[Run]:
    """The peer's settings, each tried for one step: batch size, then reference, then precision."""
    if work == "scoring":
        return []
    sizes = (2, 4) if work == "kto" else (1, 2, 4)
    if device != "cpu":
        sizes = (4, 8, 16)
    tried: list[Run] = []
    more = _installed() if device == "cuda" else []
    with bar(f"search: {work}", len(sizes) + 2 + len(more), "settings") as progress:

        def attempt(kind: str, size: int, precompute: bool, **options: object) -> None:
            settings = {"batch_size": size, "precompute": precompute, **options}
            run = Run(work, "trl", kind, settings)
            run.results.append(run.once(load))
            tried.append(run)
            progress.update()

        for size in sizes:
            attempt(precision, size, precompute=True)
        best = min(tried, key=_cost).options["batch_size"]
        attempt(precision, best, precompute=False)
        attempt("fp32", best, precompute=True)
        for options in more:
            attempt(precision, best, precompute=True, **options)
    return tried


def _installed() -> list[dict[str, object]]:
    """What the peer does faster on a GPU with packages that are not needed here."""
    fused: dict[str, object] = {"liger": True} if find_spec("liger_kernel") else {}
    flash: dict[str, object] = {"attention": "flash_attention_2"} if find_spec("flash_attn") else {}
    return [options for options in (fused, flash, fused | flash) if options]


def _cost(run: Run) -> float:
    """Seconds of two epochs, as far as one step tells."""
    (result,) = run.results
    return 2 * result["seconds"] + result["reference_seconds"]


def machine(device: str) -> str:
    """What was measured on, for people."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    kind = next(
        (
            name
            for name, has in (
                ("AMX", torch.cpu._is_amx_tile_supported()),
                ("AVX-512 bf16, no matrix unit", torch.cpu._is_avx512_bf16_supported()),
            )
            if has
        ),
        "no bf16",
    )
    return f"{torch.get_num_threads()} CPU cores ({platform.machine()}, {kind})"


if __name__ == "__main__":
    main()
