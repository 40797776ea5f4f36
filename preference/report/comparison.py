"""Two models on the same pairs: paired differences of their metrics."""

import logging
from collections.abc import Mapping
from dataclasses import asdict

from preference.core.errors import InputError
from preference.evaluation.statistics import Difference, mean_difference, share_difference
from preference.store.scores import Scores, pair_margins

Comparison = dict[str, Difference]  # by metric


def warn_of_contexts(scores: Mapping[str, Scores]) -> None:
    """Say so where models were not scored with the same device, precision or versions."""
    contexts = {name: found.context for name, found in scores.items()}
    if len({tuple(context.items()) for context in contexts.values()}) > 1:
        logging.warning("the models were not scored with the same: %s", contexts)


def compare(before: Scores, after: Scores, normalize: bool) -> Comparison:
    """Paired differences of `pair_acc` and `margin` between two models on the same pairs."""
    if not before.index.same_as(after.index):
        raise InputError("the models to compare have scores of different pairs; run dvc repro")
    if not len(before.index.pairs):
        raise InputError(
            "the test data have no pairs, so there is nothing to compare models by; what can be "
            "said of labelled responses is in results/metrics/final.json"
        )
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
