"""The objectives by name: each is a file in `losses/`, and that directory is the list of them."""

from importlib import import_module

from preference.core.errors import InputError
from preference.core.params import OBJECTIVES, Params
from preference.objectives.objective import Objective, Task
from preference.store.examples import Examples
from preference.store.scores import Scores


def named(name: str) -> Objective:
    """The objective that `train.objective` names.

    Raises:
        InputError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise InputError(f"train.objective: {name!r} is none of {', '.join(OBJECTIVES)}")
    return import_module(f"preference.objectives.losses.{name}").OBJECTIVE


def task(examples: Examples, anchors: Scores, settings: Params) -> Task:
    """What `train.objective` makes of the training split.

    Args:
        anchors: the reference's scores.

    Raises:
        InputError: there is no such objective, or the data lack what it needs.
    """
    train = settings.train
    objective = named(train.objective)
    pairs, labelled = len(examples.index.pairs), sum(map(len, examples.index.by_label()))
    if not (pairs if objective.needs == "pairs" else labelled):
        raise InputError(
            f"train.objective: {train.objective} needs {objective.needs}; the training data have "
            f"{pairs} pairs and {labelled} labelled responses, the two sides of pairs among them"
        )
    normalize = settings.scoring.length_normalize
    return objective.task(examples, anchors, train, normalize, settings.seed)
