"""What the metrics files of a model say of the test responses."""

from collections.abc import Mapping

import numpy as np

from preference.evaluation import labelled
from preference.evaluation.metrics import of_margins
from preference.store.scores import Scores, pair_margins


def summary(scores: Scores, normalize: bool) -> dict[str, float | str]:
    """Metrics with their 95% intervals, of all and by source, and what they were computed with.

    They are those of pairs and, where there are no pairs at all, those of labelled responses.
    """
    margins = pair_margins(scores, normalize)

    def estimates(inside: np.ndarray | slice, source: str | None = None) -> dict[str, float]:
        found = {"pairs": len(margins[inside]), **of_margins(margins[inside])}
        if not len(margins):
            desirable, undesirable = labelled.sides(scores, normalize, source)
            found |= {"desirable": len(desirable), "undesirable": len(undesirable)}
            found |= labelled.metrics(desirable, undesirable)
        return found

    found: dict[str, float | str] = {**estimates(slice(None)), **scores.context}
    for title, inside in scores.index.by_source().items():
        found |= {f"{title}: {key}": value for key, value in estimates(inside, title).items()}
    return found


def headline(values: Mapping[str, object]) -> dict[str, object]:
    """Of a `summary` what a screen has room for beside other models, as `dvc metrics show` puts it.

    Returns:
        The keys that every model has, whatever it was trained with.
    """
    keys = ("pair_acc", "margin") if values["pairs"] else labelled.METRICS
    return {key: values[key] for key in keys}
