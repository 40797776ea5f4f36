"""The objectives by name: each is a file here, and this directory is the list of them."""

from collections.abc import Collection
from importlib import import_module

from preference.core.errors import InputError
from preference.core.params import OBJECTIVES, Params
from preference.objectives.objective import SCORED, Objective, Task
from preference.store.examples import Examples
from preference.store.scores import Scores


def named(name: str) -> Objective:
    """The objective that `train.objective` names.

    Raises:
        InputError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise InputError(f"train.objective: {name!r} is none of {', '.join(OBJECTIVES)}")
    return import_module(f"preference.losses.{name}").OBJECTIVE


def task(
    examples: Examples, anchors: Scores | None, settings: Params, apart: Scores | None = None
) -> Task:
    """What `train.objective` makes of the training split.

    Args:
        anchors: the reference's scores; None where it needs none.
        apart: those of what is `beside` the responses, where it needs them.

    Raises:
        InputError: there is no such objective, or the data lack what it needs.
    """
    train = settings.train
    objective = named(train.objective)
    pairs = len(examples.index.pairs)
    labelled = 2 * pairs + len(examples.index.single)
    if not (pairs if objective.needs == "pairs" else labelled):
        raise InputError(
            f"train.objective: {train.objective} needs {objective.needs}; the training data have "
            f"{pairs} pairs and {labelled} labelled responses, the two sides of pairs among them"
        )
    if examples.index.margins is not None and not objective.margins:
        able = ", ".join(name for name in OBJECTIVES if named(name).margins)
        raise InputError(
            f"train.objective: {train.objective} has no use for the margins that the training data "
            "ask for; set data.columns: {ignore: margin} (and leave data.rankings.margin at none), "
            f"or one of {able}"
        )
    normalize = settings.scoring.length_normalize
    return objective.task(examples, anchors, train, normalize, settings.seed, apart)


def needless(name: str, kept: Collection[str]) -> str | None:
    """What to say where the reference scored what an objective of this name has no use for.

    Args:
        kept: names of the tables that the reference wrote.
    """
    wanted = named(name).scored
    spare = next((each for each in SCORED if each in kept and each != wanted), None)
    if spare is None and "train" in kept and wanted == "none":
        spare = "responses"
    return spare and (
        f"train.objective: {name} needs no reference scores of {SCORED[spare]}; "
        f"reference.train: {wanted} spares that"
    )
