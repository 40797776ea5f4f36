"""How much of an accuracy the lengths of responses explain."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from preference.evaluation.intervals import share_interval
from preference.evaluation.statistics import Difference, share_difference
from preference.report import markdown
from preference.store.scores import Scores, pair_margins

LIKE = 0.1
COLUMNS = (
    ("model", "left"),
    ("pair_acc, like lengths", "right"),
    markdown.INTERVAL,
    ("against length alone", "right"),
    markdown.INTERVAL,
    ("p-value", "right"),
)


def alike(tokens: np.ndarray) -> np.ndarray:
    """Pairs whose lengths differ by at most a tenth of the longer one's, (pairs,) booleans.

    Args:
        tokens: of chosen and rejected, (pairs, 2).
    """
    return np.abs(np.subtract(*tokens.T)) <= LIKE * tokens.max(axis=1)


def prefers_longer(prepared: Mapping[str, Any]) -> bool:
    """Whether more of the training pairs prefer the longer response than the shorter one."""
    train = prepared["train"]
    return bool(train["chosen_longer"] >= train["rejected_longer"])


def alone(tokens: np.ndarray, longer: bool) -> np.ndarray:
    """The pairs that one gets right who knows only the lengths, (pairs,) booleans.

    Equal lengths tell nothing and count as wrong, as equal scores do for `pair_acc`.
    """
    difference = np.subtract(*tokens.T)
    return difference > 0 if longer else difference < 0


def against(scores: Scores, normalize: bool, longer: bool) -> Difference:
    """A model's `pair_acc` against that of length alone, on the same pairs."""
    known = alone(scores.tokens[scores.index.pairs], longer)
    return share_difference(known, pair_margins(scores, normalize) > 0)


def rows(
    models: Mapping[str, Scores], prepared: Mapping[str, Any], normalize: bool, decimals: int
) -> list[list[str]]:
    """The cells of `COLUMNS`: first of length alone, then by model; nothing without pairs.

    Args:
        models: scores by title.
        prepared: the metrics of `prepare`.
    """
    scores = next(iter(models.values()))
    if not len(scores.index.pairs):
        return []
    tokens, longer = scores.tokens[scores.index.pairs], prefers_longer(prepared)
    hits, like = alone(tokens, longer), alike(tokens)
    title = f"length alone ({'longer' if longer else 'shorter'} preferred)"
    found = [[title, *_share(hits[like], decimals), markdown.number(hits.mean(), decimals), "", ""]]
    for name, one in models.items():
        difference = against(one, normalize, longer)
        found.append(
            [
                name,
                *_share((pair_margins(one, normalize) > 0)[like], decimals),
                *markdown.changed(difference, decimals),
                markdown.p_value(difference.p_value),
            ]
        )
    return found


def _share(hits: np.ndarray, decimals: int) -> list[str]:
    interval = share_interval(hits)
    value = float(hits.mean()) if len(hits) else None
    return [
        markdown.number(value, decimals),
        markdown.interval(interval.low, interval.high, decimals),
    ]
