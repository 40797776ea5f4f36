"""The results table: what each stage of training changed, and how sure that is."""

import json
import math
from pathlib import Path

import numpy as np

from preference.errors import InputError
from preference.metrics import pair_margins
from preference.statistics import Difference, mean_difference, share_difference
from preference.tables import Scores

Comparison = dict[str, Difference]  # by metric


def compare(before: Scores, after: Scores, normalize: bool) -> Comparison:
    """Paired differences of `pair_acc` and `margin` between two models on the same pairs."""
    if not np.array_equal(before.rows, after.rows):
        raise InputError("the models to compare have scores of different pairs; run dvc repro")
    margins = pair_margins(before, normalize), pair_margins(after, normalize)
    return {
        "pair_acc": share_difference(margins[0] > 0, margins[1] > 0),
        "margin": mean_difference(*margins),
    }


def read_metrics(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run dvc repro") from None


def table(
    models: dict[str, dict[str, float]],
    comparisons: dict[str, Comparison],
    decimals: int,
) -> str:
    """The results as Markdown.

    Args:
        models: metrics by model, in the order in which they were trained.
        comparisons: paired differences by title; the first one is the delta row.
        decimals: digits after the point.
    """

    def number(value: float | None, signed: bool = False) -> str:
        if value is None or math.isnan(value):
            return "n/a"
        return f"{value:{'+' if signed else ''}.{decimals}f}"

    def interval(low: float | None, high: float | None, signed: bool = False) -> str:
        return f"{number(low, signed)} to {number(high, signed)}"

    lines = [
        "| model | pair_acc | 95% interval | margin | 95% interval |",
        "| --- | ---: | :---: | ---: | :---: |",
    ]
    for name, values in models.items():
        cells = [name]
        for metric in ("pair_acc", "margin"):
            cells += [
                number(values[metric]),
                interval(values[f"{metric}_low"], values[f"{metric}_high"]),
            ]
        lines.append(_row(cells))
    title, delta = next(iter(comparisons.items()))
    cells = [f"delta ({title})"]
    for difference in delta.values():
        cells += [
            number(difference.difference, signed=True),
            interval(difference.low, difference.high, signed=True),
        ]
    lines += [
        _row(cells),
        "",
        "| paired difference | metric | difference | 95% interval | p-value |",
        "| --- | --- | ---: | :---: | ---: |",
    ]
    for title, comparison in comparisons.items():
        for metric, difference in comparison.items():
            cells = [
                title,
                metric,
                number(difference.difference, signed=True),
                interval(difference.low, difference.high, signed=True),
                _p_value(difference.p_value),
            ]
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "n/a"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
