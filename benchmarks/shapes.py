"""How near training comes to a plain product's rate, by architecture: same pairs, same machine.

Of two epochs the second counts: the first has what a run does once, memory that is new and, with
`runtime.compile`, the compiler's time. Rounds alternate between the models; the plain product is
measured in each. Writes benchmarks/shapes.json and its table in the README beside it.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import table, workload
from benchmarks.peak import matrix_peak
from benchmarks.run import HERE, README, Run
from benchmarks.run import machine as machine_of
from benchmarks.workload import Workload
from preference.core import params
from preference.core.progress import bar
from preference.report import markdown
from preference.runtime import devices
from preference.store.text import write_json

COLUMNS = [("model", "left"), ("opened in", "right"), ("s / pair, first epoch", "right")]
COLUMNS += [("second", "right"), ("TFLOP/s", "right"), ("plain product", "right")]
COLUMNS += [("share", "right"), ("peak memory", "right")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--pairs", type=int, default=128, help="training pairs (default 128)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        gpt2 = workload.make(place / "gpt2", pairs=args.pairs, epochs=2)
        loads = {"gpt2": gpt2, "smollm2": workload.like(gpt2, place / "smollm2", "smollm2")}
        context = devices.context(devices.accelerator(params.load(gpt2.params)))
        device, precision = context["device"], context["precision"]
        runs = [
            (name, Run("dpo", "this", precision, {"compile": True} if compiled else {}))
            for name in loads
            for compiled in (False, True)
        ]
        peaks: list[float] = []
        with bar("benchmark", args.rounds * len(runs), "runs") as progress:
            for _ in range(args.rounds):
                peaks.append(matrix_peak(device, precision))
                for name, run in runs:
                    run.results.append(run.once(loads[name]))
                    progress.update()
        peak = statistics.median(peaks)
        rows = [row(name, run, loads[name], peak) for name, run in runs]
    found = {"machine": machine_of(device), "precision": precision, "rounds": args.rounds}
    found |= {"pairs": args.pairs, "rows": rows}
    write_json(HERE / "shapes.json", found)
    README.write_text(
        table.inserted(README.read_text(encoding="utf-8"), shown(found), "shapes"), encoding="utf-8"
    )
    print(shown(found))


def shown(found: dict[str, Any]) -> str:
    """The measured numbers as a table."""
    cells = [
        [
            each["model"] + (", `runtime.compile`" if each["compiled"] else ""),
            f"{each['opening_seconds']:.0f} s",
            f"{each['seconds_per_pair_first_epoch']:.3f}",
            f"{each['seconds_per_pair']:.3f}",
            f"{each['operations_per_second'] / 1e12:.3f}",
            f"{each['matrix_peak_operations_per_second'] / 1e12:.3f}",
            f"{each['share']:.0%}",
            f"{each['peak_bytes'] / 1e9:.2f} GB",
        ]
        for each in found["rows"]
    ]
    said = f"{found['machine']}; {found['pairs']} pairs, steps of 16, {found['precision']}; "
    said += f"medians of {found['rounds']} rounds."
    return "\n".join([*markdown.table(COLUMNS, cells), "", said])


def row(name: str, run: Run, load: Workload, peak: float) -> dict[str, Any]:
    """Medians of training alone, without its reference's scores; the rate is the second epoch's."""

    def median(key: str) -> float:
        return statistics.median(result[key] for result in run.results)

    seconds = [result["later_seconds"] / load.pairs for result in run.results]
    config = json.loads((load.model / "config.json").read_text())
    operations = 3 * workload.useful_operations(load.prepared(), config)
    rate = operations / statistics.median(seconds)
    return {
        "model": workload.NAMES[name],
        "compiled": bool(run.options),
        "opening_seconds": median("opening_seconds"),
        "seconds_per_pair_first_epoch": (median("seconds") - median("later_seconds")) / load.pairs,
        "peak_bytes": median("peak_bytes"),
        "seconds_per_pair": statistics.median(seconds),
        "seconds_per_pair_rounds": seconds,
        "operations_per_second": rate,
        "matrix_peak_operations_per_second": peak,
        "share": rate / peak,
    }


if __name__ == "__main__":
    main()
