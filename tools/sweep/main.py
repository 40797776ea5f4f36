"""Run the pipeline with the params of a study, on top of what `params.yaml` asks for.

Writes OUT/sweep.md and OUT/sweep.svg, or those of another name that the study asks for. Each
variant becomes a DVC experiment, beside the working directory, which stays as it is once
`dvc repro` has nothing to do. Run by `make sweep`, `make seeds` and `make screen`.
"""

import logging
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
    alone = (
        "only the K-th of N parts, from 0, without a table: each may be a job on a host of its own"
    )
    parser.add_argument("--part", type=_part, metavar="K/N", help=alone)
    parser.add_argument("--out", type=Path, default=Path("results"), help="where to write")


def _part(text: str) -> tuple[int, int]:
    number, of = map(int, text.split("/"))
    if not 0 <= number < of:
        raise ValueError
    return number, of


def runs(
    variants: Sequence[Variant], told: Told, jobs: int = 1, part: tuple[int, int] | None = None
) -> Generator[tuple[Variant, Outcome]]:
    """Run the first variant here, and the others in copies with its results; a part in copies."""
    from dvc.repo import Repo

    if not part:
        yield variants[0], follow(["repro"], told)
        variants = variants[1:]
    # Copied now, for all: what is changed here meanwhile is for another sweep.
    yield from lanes.runs(Repo(), variants, told, jobs, _copies(part))


def _copies(part: tuple[int, int] | None) -> str:
    """What the names of its copies begin with, so that parts on a shared disk have their own."""
    return "part-{}-of-{}-".format(*part) if part else ""


def main(args: Namespace) -> None:
    settings = params.load()
    if args.seeds is not None and args.seeds < 2:
        raise InputError(f"--seeds {args.seeds}: seeds are compared, so take 2 or more")
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: take 1 or more")
    wanted, variants = study.read(args.study, settings, args.seeds)
    view = VIEWS[wanted.view]
    copies.require_repository()
    if args.part:
        # What the params ask for runs in the project itself.
        variants = lanes.part(variants[1:], *args.part)
    found: list[tuple[Variant, Outcome]] = []
    with bar("sweep", len(variants), "runs") as progress:

        def told(line: str) -> None:
            progress.set_postfix_str(line[:WIDTH], refresh=sys.stderr.isatty())

        # Closed on a signal, so that what is at work ends before this does.
        with closing(runs(variants, told, args.jobs, args.part)) as ended:
            for variant, outcome in ended:
                found.append((variant, outcome))
                tqdm.write(outcomes.summary(variant, outcome), file=sys.stderr)
                progress.update()
    found.sort(key=lambda pair: variants.index(pair[0]))
    failed = [variant.name for variant, outcome in found if outcome.error]
    if args.part:
        logging.info("part %d of %d is done: the table comes with all of them", *args.part)
    else:
        text = view.table(found, wanted, durations.known(), settings.report.decimals)
        if len(failed) < len(found):
            write_text(args.out / f"{wanted.view}.md", text)
            write_text(args.out / f"{wanted.view}.svg", charts.image(view.chart(found, wanted)))
        print(text, end="")
    if failed:
        raise InputError(f"{len(failed)} of {len(found)} runs failed: {', '.join(failed)}")
    for place in copies.COPIES.glob(f"{_copies(args.part)}[0-9]*"):
        remove(place)


if __name__ == "__main__":
    stage.run(
        main,
        network=lambda args: True,
        lock=lambda args: f"{_copies(args.part)}sweep",
        arguments=arguments,
    )
