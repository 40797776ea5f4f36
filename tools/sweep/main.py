"""Run the pipeline by label noise and by objective, on top of what `params.yaml` asks for.

Writes OUT/sweep.md and OUT/sweep.svg. Each variant becomes a DVC experiment, beside the working
directory, which stays as it is once `dvc repro` has nothing to do. Run by `make sweep`.
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from preference.core import durations, params, signals
from preference.core.errors import InputError
from preference.core.progress import bar
from preference.report import charts
from preference.store.text import write_text
from tools.sweep import copies, study
from tools.sweep.follow import Log, Told, follow
from tools.sweep.study import Outcome, Variant

METRICS = "results/metrics/{}.json"
LEVELS = {"baseline": "baseline", "SFT": "sft"}
WIDTH = 60  # of what the bar shows of a stage's own progress


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m tools.sweep.main", description=__doc__)
    parser.add_argument(
        "--noise",
        type=float,
        nargs="*",
        default=study.NOISE,
        metavar="SHARE",
        help="train.label_noise, with DPO (default: %(default)s)",
    )
    parser.add_argument(
        "--objectives",
        nargs="*",
        default=study.OBJECTIVES,
        choices=study.OBJECTIVES,
        help="train.objective, without noise (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("results"), help="where to write")
    args = parser.parse_args()
    if not all(0 <= value <= 1 for value in args.noise):
        parser.error(f"--noise takes shares from 0 to 1 (it is {args.noise})")
    return args


def attempt(
    variant: Variant, run: Callable[[Told], tuple[Log, str | None]], progress: tqdm, stages: int
) -> tuple[Outcome, str | None]:
    """Run a variant, and tell of it; also its experiment's commit, if it is one.

    Args:
        stages: how many the pipeline has.
    """
    progress.set_description(variant.name)
    begun, before = time.monotonic(), progress.n
    metrics, commit, error = None, None, ""

    def told(log: Log, line: str) -> None:
        progress.set_postfix_str(line[:WIDTH], refresh=False)
        progress.update(before + log.done - progress.n)

    try:
        log, commit = run(told)
        metrics = copies.metrics(METRICS.format("final"), commit)
    except InputError as failure:
        log, error = getattr(failure, "log", Log()), str(failure)
    seconds = time.monotonic() - begun
    for stage, spent in log.ran.items():
        durations.record(stage, spent)
    progress.set_postfix_str("", refresh=False)
    progress.update(before + stages - progress.n)
    done = Outcome(variant, seconds, log.ran, log.reused, metrics, error)
    tqdm.write(study.line(done), file=sys.stderr)
    return done, commit


def main() -> int:
    args = arguments()
    settings = params.load()
    train = settings.train
    present = Variant(train.objective, train.label_noise, train.batch_size)
    planned = study.variants(args.noise, args.objectives, present)
    others = [variant for variant in planned if variant != present]
    copies.require_repository()
    stages = copies.stages()
    with copies.alone(), bar("sweep", stages * len(planned), "stages") as progress:
        done = {present: attempt(present, repro, progress, stages)}
        # All of them now: what is changed here meanwhile is for another sweep.
        places = {v: copies.copy(v.experiment, v.settings) for v in others}
        for v in others:
            work = partial(copies.run, places[v], v.experiment, v.settings)
            done[v] = attempt(v, work, progress, stages)
    outcomes = [done[variant][0] for variant in planned]
    finished = [commit for outcome, commit in done.values() if outcome.metrics]
    if finished:
        write(outcomes, finished[0], present, settings.report.decimals, args.out)
    return any(outcome.error for outcome in outcomes)


def repro(told: Told) -> tuple[Log, None]:
    return follow(["repro"], Path(), told), None


def write(
    outcomes: list[Outcome], commit: str | None, present: Variant, decimals: int, out: Path
) -> None:
    """Write table and chart; `commit` is of one that knows what all have in common."""
    levels = {
        title: copies.metrics(METRICS.format(name), commit)["pair_acc"]
        for title, name in LEVELS.items()
    }
    saved = study.saving(outcomes, durations.known())
    text = study.table(outcomes, saved, present, decimals)
    write_text(out / "sweep.md", text)
    write_text(out / "sweep.svg", charts.image(study.chart(outcomes, levels)))
    print(text, end="")


if __name__ == "__main__":
    signals.stop_at_once()
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
    except signals.Stopped as stopped:
        print(
            f"stopped by {stopped}; what is done is kept, the next sweep goes on", file=sys.stderr
        )
        sys.exit(stopped.status)
