"""How cost grows with the pairs, and tokenizing at the size of the whole of hh-rlhf.

`curve`: scoring and one epoch of DPO with the demo's small model, in processes of their own.
`prepare`: 160,800 generated pairs, beside the bare tokenizer on the same text.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.workload import Workload
from preference.core import params
from preference.data import tokens
from preference.data.encoding import Encoder
from preference.data.leakage import Seen
from preference.data.prepare import RawTable, prepare

HERE = Path(__file__).resolve().parent
SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 512, "vocab_size": 1024}
CURVE = (1_000, 4_000, 16_000)
WHOLE = 160_800


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--model", help="directory with config and tokenizer, for `prepare`")
    parser.add_argument("--out", type=Path, default=HERE / "scale.json", help="file to write")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_child(args.child[0], Workload.load(Path(args.child[1])))))
        return
    found: dict[str, Any] = {"curve": []}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for pairs in CURVE:
            load = workload.make(place / "curve", pairs=pairs, epochs=1, step_size=8, size=SMALL)
            result = _run("benchmarks.worker", "this", "dpo", str(load.directory), "fp32", "{}")
            found["curve"].append({"pairs": pairs, **result})
            print(found["curve"][-1], flush=True)
        model = args.model and str(Path(args.model).resolve())
        load = workload.make(place / "whole", pairs=WHOLE, epochs=1, model=model, size=SMALL)
        # The stage has run already; here both are timed on the same text, and by turns.
        rounds = [
            {
                name: _run("benchmarks.scale", "--child", name, str(load.directory))
                for name in ("prepare", "tokenizer")
            }
            for _ in range(3)
        ]
        found["prepare"] = sorted(rounds, key=lambda r: r["prepare"]["tokens_per_second"])[1]
        prepared = load.directory / "data" / "prepared" / "train.parquet"
        found["prepare"]["bytes_per_pair"] = prepared.stat().st_size / WHOLE
    rates = [found["prepare"][name]["tokens_per_second"] for name in ("prepare", "tokenizer")]
    found["prepare"]["share_of_tokenizer"] = rates[0] / rates[1]
    args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["prepare"], indent=2))


def _run(module: str, *args: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        env=workload.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(args)} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _child(name: str, load: Workload) -> dict[str, float]:
    if name == "prepare":
        with tempfile.TemporaryDirectory() as directory:
            settings = params.load(load.params).data
            start = time.perf_counter()
            table = RawTable(load.directory / "data" / "raw" / "train.parquet", settings)
            counts = prepare(
                table,
                Path(directory) / "train.parquet",
                Encoder(tokens.load(load.model), settings, table.template),
                wanted=load.pairs,
                seen=Seen(),
            )
            seconds = time.perf_counter() - start
        # As kept: the cut ones were tokenized, too, so this rate is not flattered.
        total = counts.prompt_tokens + counts.chosen_tokens + counts.rejected_tokens
    else:
        tokenizer = tokens.load(load.model).tokenizer
        texts = list(chain.from_iterable(load.texts()))
        total, seconds = 0, 0.0
        for first in range(0, len(texts), 12_000):
            start = time.perf_counter()
            found = tokenizer.encode_batch_fast(
                texts[first : first + 12_000], add_special_tokens=False
            )
            seconds += time.perf_counter() - start
            total += sum(len(encoding.ids) for encoding in found)
    return {
        "seconds": seconds,
        "tokens": total,
        "tokens_per_second": total / seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
