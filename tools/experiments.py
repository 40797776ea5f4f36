"""List experiments as `dvc exp show` does, with its options, but for what is not theirs.

While an experiment is at work, DVC shows the metrics that lie where it runs: those of the run
before it, as long as the stages have not written their own. Of one that failed it shows those of
the commit that it began with. Here both have their state and params alone.

Use: python -m tools.experiments [OPTION OF dvc exp show]...
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo.experiments.serialize import ExpState

# States in which an experiment has come to nothing, or to nothing yet.
WITHOUT, HERE = ("running", "failed"), "workspace"


def own(states: "Sequence[ExpState]") -> "list[ExpState]":
    """The commits with their experiments, without metrics that are another run's.

    One that is at work in the working directory has taken the directory's metrics along.
    """
    borrowed, here = [], False
    for state in states:
        for found in state.experiments or []:
            if found.executor and found.executor.state in WITHOUT:
                borrowed += found.revs
                here |= found.executor.name == HERE
    borrowed += [state for state in states if here and state.rev == HERE]
    for state in borrowed:
        if state.data:
            state.data = replace(state.data, metrics={})
    return list(states)


def main(options: Sequence[str]) -> int:
    """Print the table; the status that DVC's command ends with."""
    from dvc.cli import parse_args

    arguments = parse_args(["exp", "show", *options])
    command = arguments.func(arguments)
    experiments = command.repo.experiments
    shown = experiments.show
    experiments.show = lambda **asked: own(shown(**asked))
    return command.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
