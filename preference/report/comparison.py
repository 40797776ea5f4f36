"""Two models on the same test responses: paired differences of their metrics."""

import logging
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from preference.core.errors import InputError
from preference.evaluation import labelled
from preference.evaluation.statistics import Difference, mean_difference, share_difference
from preference.store.index import Index
from preference.store.scores import Scores, pair_margins

Comparison = dict[str, Difference]  # by metric


def warn_of_contexts(scores: Mapping[str, Scores]) -> None:
    """Say so where models were not scored with the same device, precision or versions."""
    contexts = {name: found.context for name, found in scores.items()}
    if len({tuple(context.items()) for context in contexts.values()}) > 1:
        logging.warning("the models were not scored with the same: %s", contexts)


def sides(index: Index) -> dict[str, np.ndarray]:
    """What models are to tell apart, by name: responses of pairs, else those that have a label."""
    if len(index.pairs):
        return dict(zip(("chosen", "rejected"), index.pairs.T, strict=True))
    return dict(zip(("desirable", "undesirable"), index.by_label(), strict=True))


def tested(index: Index) -> str:
    """How many test pairs there are, or labelled responses, for people."""
    if len(index.pairs):
        return f"{len(index.pairs):,} test pairs"
    counts = [f"{len(responses):,} {side}" for side, responses in sides(index).items()]
    return f"{' and '.join(counts)} test responses"


def compare(before: Scores, after: Scores, normalize: bool) -> Comparison:
    """Paired differences between two models: of `pair_acc` and `margin` on the same pairs.

    Where there are no pairs they are of `labelled.METRICS` on the same labelled responses, and NaN
    where all of these have one label.

    Raises:
        InputError: the models have scores of different responses.
    """
    if not before.index.same_as(after.index):
        raise InputError("the models to compare have scores of different pairs; run dvc repro")
    if not len(before.index.pairs):
        return labelled.differences(*(labelled.sides(one, normalize) for one in (before, after)))
    margins = pair_margins(before, normalize), pair_margins(after, normalize)
    return {
        "pair_acc": share_difference(margins[0] > 0, margins[1] > 0),
        "margin": mean_difference(*margins),
    }


def flat(comparisons: dict[tuple[str, str], Comparison]) -> dict[str, float]:
    """Comparisons by (before, after), as the one level of keys that a metrics file has."""
    return {
        f"{after}_vs_{before}_{metric}_{field}": value
        for (before, after), comparison in comparisons.items()
        for metric, difference in comparison.items()
        for field, value in asdict(difference).items()
    }
