"""Run the pipeline with the params of a study, on top of what `params.yaml` asks for.

Writes OUT/sweep.md and OUT/sweep.svg, or those of another name that the study asks for. Each
variant becomes a DVC experiment, beside the working directory, which stays as it is once
`dvc repro` has nothing to do. Run by `make sweep`, `make seeds` and `make screen`.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from preference.core import durations, params, stage
from preference.core.errors import InputError
from preference.core.files import remove
from preference.core.progress import bar
from preference.report import charts
from preference.store.text import write_text
from tools.sweep import copies, outcomes, screen, seeds, study
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
    parser.add_argument("--out", type=Path, default=Path("results"), help="where to write")


def runs(variants: Sequence[Variant], told: Told) -> Iterator[Outcome]:
    """Run the first variant here, and the others in a copy with its results."""
    from dvc.repo import Repo

    yield follow(["repro"], told)
    # Now, for all: what is changed here meanwhile is for another sweep.
    repo = Repo()
    copies.copy(repo)
    for variant in variants[1:]:
        yield copies.run(repo, f"sweep-{variant.name}", variant.settings, told)


def main(args: Namespace) -> None:
    settings = params.load()
    if args.seeds is not None and args.seeds < 2:
        raise InputError(f"--seeds {args.seeds}: seeds are compared, so take 2 or more")
    wanted, variants = study.read(args.study, settings, args.seeds)
    view = VIEWS[wanted.view]
    copies.require_repository()
    found: list[tuple[Variant, Outcome]] = []
    with bar("sweep", len(variants), "runs") as progress:

        def told(line: str) -> None:
            progress.set_postfix_str(line[:WIDTH], refresh=sys.stderr.isatty())

        for variant, outcome in zip(variants, runs(variants, told), strict=True):
            found.append((variant, outcome))
            tqdm.write(outcomes.summary(variant, outcome), file=sys.stderr)
            progress.update()
    text = view.table(found, wanted, durations.known(), settings.report.decimals)
    failed = [variant.name for variant, outcome in found if outcome.error]
    if len(failed) < len(found):
        write_text(args.out / f"{wanted.view}.md", text)
        write_text(args.out / f"{wanted.view}.svg", charts.image(view.chart(found, wanted)))
    print(text, end="")
    if failed:
        raise InputError(f"{len(failed)} of {len(found)} runs failed: {', '.join(failed)}")
    remove(copies.COPY)


if __name__ == "__main__":
    stage.run(main, network=lambda args: True, lock=lambda args: "sweep", arguments=arguments)
