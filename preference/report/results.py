"""The results table: what each stage of training changed, and how sure that is."""

import json
from dataclasses import dataclass
from pathlib import Path

from preference.core.errors import InputError
from preference.report import length, markdown
from preference.report.comparison import Comparison
from preference.report.health import Health
from preference.report.verdict import COLUMNS, Outcome


def read_metrics(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run dvc repro") from None


@dataclass(frozen=True)
class Rows:
    """Rows of cells: metrics by model with the delta, paired differences, and what lengths do."""

    metrics: tuple[str, ...]
    models: list[list[str]]
    differences: list[list[str]]
    lengths: list[list[str]]


def rows(
    models: dict[str, dict[str, float]],
    comparisons: dict[str, Comparison],
    decimals: int,
    lengths: list[list[str]] | None = None,
) -> Rows:
    """The results as text.

    Args:
        models: metrics by model, in the order in which they were trained.
        comparisons: paired differences by title; the first one is the delta row, and says by which
            metrics the models are compared.
        decimals: digits after the point.
        lengths: as `length.rows` gives them.
    """
    title, delta = next(iter(comparisons.items()))
    metrics = tuple(delta)
    found = [
        [name, *markdown.estimates(values, decimals, metrics)] for name, values in models.items()
    ]
    changes = [cell for one in delta.values() for cell in markdown.changed(one, decimals)]
    found.append([f"delta ({title})", *changes])
    differences = [
        [title, metric, *markdown.changed(one, decimals), markdown.p_value(one.p_value)]
        for title, comparison in comparisons.items()
        for metric, one in comparison.items()
    ]
    return Rows(metrics, found, differences, lengths or [])


def table(found: Rows, compared: Outcome, health: Health) -> str:
    """The results as Markdown, below whether the run worked, above what is published."""
    models = [("model", "left"), *markdown.columns(found.metrics)]
    differences = [("paired difference", "left"), ("metric", "left"), ("difference", "right")]
    differences += [markdown.INTERVAL, ("p-value", "right")]
    lines = [
        *health.lines(),
        "",
        *markdown.table(models, found.models),
        "",
        *markdown.table(differences, found.differences),
        "",
    ]
    if found.lengths:
        lines += [*markdown.table(length.COLUMNS, found.lengths), ""]
    lines.append(compared.headline)
    if compared.rows:
        lines += ["", *markdown.table(COLUMNS, compared.rows)]
        lines += ["", f"Published: {compared.source}", "", compared.explanation]
    return "\n".join(lines) + "\n"
