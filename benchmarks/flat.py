"""What a million pairs cost stages that train beside a thousand: memory, start, time a step.

Tables are generated as stages would have written them; the model is small, and takes some steps.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ruamel.yaml import YAML

from benchmarks import workload
from preference.store import scores, tables
from preference.store.index import Index, blocks
from preference.store.scores import Scores

HERE = Path(__file__).resolve().parent
COPIES = ".checkpoints/mapped"
STAGES = ("train", "sft_warmup")
SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 512, "vocab_size": 1024}
PAIRS = (1_000, 100_000, 1_000_000)
STEPS = 60
WARM = 10  # steps that are not timed
JUDGED = 64  # test pairs
LONGEST = (240, 96)  # tokens of prompts and of responses, of which any number is as likely
ROWS = 4_000  # as `prepare` writes them at a time


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="*", default=PAIRS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "flat.json", help="file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        places = {pairs: Path(directory) / str(pairs) for pairs in args.pairs}
        for pairs, place in places.items():
            make(place, pairs)
        found = {stage: measure(places, stage, args.rounds) for stage in STAGES}
    args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def measure(places: dict[int, Path], stage: str, rounds: int) -> list[dict[str, float]]:
    """Run a stage on few and on many pairs by turns, in projects from `make` by their pairs.

    Returns:
        For each of them, of runs that read the tables anew and of those that find them `mapped`:
        medians of the seconds until the first step was taken and of a later step's, and the
        largest peak of anonymous memory in bytes.
    """
    runs: dict[int, list[dict[str, float]]] = {pairs: [] for pairs in places}
    for _ in range(rounds):
        for pairs, place in places.items():
            shutil.rmtree(place / COPIES, ignore_errors=True)
            both = {kind: run(place, stage) for kind in ("anew", "mapped")}
            runs[pairs].append({f"{k}_{n}": v for k, of in both.items() for n, v in of.items()})
            print(stage, pairs, runs[pairs][-1], flush=True)
    return [
        {"pairs": pairs, "copy_bytes_per_pair": _size(places[pairs] / COPIES) / pairs}
        | {
            name: float((np.max if name.endswith("bytes") else np.median)([r[name] for r in found]))
            for name in found[0]
        }
        for pairs, found in runs.items()
    ]


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*.npy"))


def make(place: Path, pairs: int) -> None:
    """A project whose `train` has all that it reads."""
    load = workload.make(place, pairs=8, epochs=1, step_size=8, size=SMALL)
    for model in ("sft", "policy"):
        shutil.copytree(load.model, place / "models" / model)
    values = YAML().load(load.params)
    values["runtime"]["checkpoint_minutes"] = None
    for section in ("sft", "train"):
        values[section] |= {"max_steps": STEPS, "epochs": 1, "batch_size": 8}
    YAML().dump(values, load.params)
    for split, count in {"train": pairs, "test": JUDGED}.items():
        index = write_prepared(place / f"data/prepared/{split}.parquet", count)
        generator = np.random.default_rng(2)
        logps = generator.normal(-100, 20, len(index.labels))
        tokens = generator.integers(1, LONGEST[1], len(index.labels), dtype=np.int32)
        scores.write(place / f"data/reference/{split}.parquet", Scores(index, logps, tokens))


def write_prepared(path: Path, pairs: int) -> Index:
    """A table of random ids, without texts; its index is that of all pairs."""
    generator = np.random.default_rng(1)
    with tables.writing(path, tables.PREPARED) as writer:
        for part in blocks(pairs, ROWS):
            count = part.stop - part.start
            index, lengths = _index(count, part.start), generator.integers
            asked = lengths(1, LONGEST[0], count)
            answered = lengths(2, LONGEST[1], 2 * count)
            ids = [generator.integers(SMALL["vocab_size"], size=s.sum()) for s in (asked, answered)]
            prompts, responses = (pa.array(values, pa.int32()) for values in ids)
            twos, nothing = np.full(count, 2), np.zeros(count, int)
            columns: dict[str, Any] = index.columns() | {
                "prompt_ids": tables.lists(prompts, asked),
                "response_ids": tables.lists(tables.lists(responses, answered), twos),
                "prompt_tokens": tables.lists(pa.array(np.repeat(asked, 2), pa.int32()), twos),
                "answers": tables.lists(pa.array([], pa.int32()), nothing),
                "prompt": [""] * count,
                "turns": tables.lists(pa.array([], tables.TURN), nothing),
                "responses": [["", ""]] * count,
            }
            writer.write_table(pa.table(columns, schema=tables.PREPARED))
    return _index(pairs)


def _index(pairs: int, first: int = 0) -> Index:
    """Two responses to each prompt, the first of which is preferred."""
    sides = 2 * pairs
    return Index(
        rows=np.arange(first, first + pairs),
        prompt_of=np.repeat(np.arange(pairs), 2),
        pairs=np.arange(sides).reshape(-1, 2),
        labels=np.full(sides, -1, np.int8),
        weights=np.ones(sides, np.float32),
    )


def run(place: Path, stage: str) -> dict[str, float]:
    """Run a stage in a project from `make`, and look at it until it ends."""
    steps = place / f"live/{stage.partition('_')[0]}/steps/plots/metrics/loss.tsv"
    shutil.rmtree(place / "live", ignore_errors=True)
    began, peak, seen = time.perf_counter(), 0, dict[int, float]()
    log = place / "log"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}"],
            cwd=place,
            env=workload.environment(),
            stdout=told,
            stderr=told,
        )
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            done = _lines(steps)
            seen.setdefault(done, time.perf_counter())
            time.sleep(0.005)
    if process.returncode:
        raise SystemExit(f"{stage} failed:\n{log.read_text()[-3000:]}")
    first, last = min(n for n in seen if n >= WARM), max(seen)
    return {
        "start_seconds": seen[min(n for n in seen if n)] - began,
        "step_seconds": (seen[last] - seen[first]) / (last - first),
        "anonymous_bytes": peak,
    }


def anonymous(process: int) -> int:
    """Resident memory of a process that is no file's, in bytes; 0 where it has gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = dict(line.split(":", 1) for line in status.splitlines())
    return int(sizes.get("RssAnon", "0 kB").split()[0]) * 1024


def _lines(file: Path) -> int:
    """How many rows a table of steps has."""
    try:
        return max(0, len(file.read_text().splitlines()) - 1)
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main()
