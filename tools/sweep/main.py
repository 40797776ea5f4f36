"""Run the pipeline with the params of a study, on top of what `params.yaml` asks for.

Writes OUT/sweep.md and OUT/sweep.svg, or those of another name that the study asks for. Each
variant becomes a DVC experiment, beside the working directory, which stays as it is once
`dvc repro` has nothing to do. Run by `make sweep`, `make seeds` and `make screen`.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from preference.core import durations, params, stage
from preference.core.errors import InputError
from preference.core.files import remove
from preference.core.progress import bar
from preference.report import charts
from preference.store.text import write_text
from tools.sweep import copies, lanes, outcomes, screen, seeds, study
from tools.sweep.follow import Outcome, Told, follow
from tools.sweep.study import Variant

WIDTH = 60  # of what the bar shows of DVC's last line
VIEWS = {"sweep": outcomes, "seeds": seeds, "screen": screen}


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    named = "a name in recipes/studies, or a file (default: %(default)s)"
    parser.add_argument("--study", default="label-noise", help=named)
    several = "each run with so many seeds, from the one in params.yaml on"
    parser.add_argument("--seeds", type=int, help=several)
    shared = "runs at a time, each with its part of the cores and GPUs (default: %(default)s)"
    parser.add_argument("--jobs", type=int, default=1, help=shared)
    parser.add_argument("--out", type=Path, default=Path("results"), help="where to write")


def runs(
    variants: Sequence[Variant], told: Told, jobs: int = 1
) -> Generator[tuple[Variant, Outcome]]:
    """Run the first variant here, and the others in copies with its results."""
    from dvc.repo import Repo

    yield variants[0], follow(["repro"], told)
    # Copied now, for all: what is changed here meanwhile is for another sweep.
    yield from lanes.runs(Repo(), variants[1:], told, jobs)


def main(args: Namespace) -> None:
    settings = params.load()
    if args.seeds is not None and args.seeds < 2:
        raise InputError(f"--seeds {args.seeds}: seeds are compared, so take 2 or more")
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: take 1 or more")
    wanted, variants = study.read(args.study, settings, args.seeds)
    view = VIEWS[wanted.view]
    copies.require_repository()
    found: list[tuple[Variant, Outcome]] = []
    with bar("sweep", len(variants), "runs") as progress:

        def told(line: str) -> None:
            progress.set_postfix_str(line[:WIDTH], refresh=sys.stderr.isatty())

        # Closed on a signal, so that what is at work ends before this does.
        with closing(runs(variants, told, args.jobs)) as ended:
            for variant, outcome in ended:
                found.append((variant, outcome))
                tqdm.write(outcomes.summary(variant, outcome), file=sys.stderr)
                progress.update()
    found.sort(key=lambda pair: variants.index(pair[0]))
    text = view.table(found, wanted, durations.known(), settings.report.decimals)
    failed = [variant.name for variant, outcome in found if outcome.error]
    if len(failed) < len(found):
        write_text(args.out / f"{wanted.view}.md", text)
        write_text(args.out / f"{wanted.view}.svg", charts.image(view.chart(found, wanted)))
    print(text, end="")
    if failed:
        raise InputError(f"{len(failed)} of {len(found)} runs failed: {', '.join(failed)}")
    remove(copies.COPIES)


if __name__ == "__main__":
    stage.run(main, network=lambda args: True, lock=lambda args: "sweep", arguments=arguments)
