"""Numbers and tables as text, the same wherever the project shows them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from preference.core.params import Params
from preference.core.sections import flat
from preference.evaluation.statistics import Difference

METRICS = ("pair_acc", "margin")
INTERVAL = ("95% interval", "centre")
RULES = {"left": "---", "right": "---:", "centre": ":---:"}


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number with so many digits after the point; `n/a` for NaN, and for the null of JSON."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def interval(low: float | None, high: float | None, decimals: int, *, signed: bool = False) -> str:
    return f"{number(low, decimals, signed=signed)} to {number(high, decimals, signed=signed)}"


def columns(metrics: Sequence[str] = METRICS) -> list[tuple[str, str]]:
    """Those of metrics with their intervals."""
    return [column for metric in metrics for column in ((metric, "right"), INTERVAL)]


def estimates(
    values: Mapping[str, Any], decimals: int, metrics: Sequence[str] = METRICS
) -> list[str]:
    """The cells of `columns`, from the keys that a metrics file has."""
    return [
        cell
        for metric in metrics
        for cell in (
            number(values[metric], decimals),
            interval(values[f"{metric}_low"], values[f"{metric}_high"], decimals),
        )
    ]


def changed(found: Difference, decimals: int) -> list[str]:
    """The cells of a difference and of its interval."""
    return [
        number(found.difference, decimals, signed=True),
        interval(found.low, found.high, decimals, signed=True),
    ]


def p_value(value: float | None) -> str:
    """Three digits: more would promise what no test keeps."""
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def equal_p(value: float) -> str:
    """As a part of a sentence: `p = 0.031`, `p < 0.001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def params(settings: Params) -> list[tuple[str, str]]:
    """All that decide results, with their values as `params.yaml` has them."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in flat(settings)
        if not name.startswith("runtime.")
    ]


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table.

    Args:
        columns: title and side of each: left, right or centre.
    """
    titles, sides = zip(*columns, strict=True)
    return [_row(titles), _row([RULES[side] for side in sides]), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    # A bar would end the cell.
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
