"""The results table: what each stage of training changed, and how sure that is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from preference import markdown, published, tables
from preference.errors import InputError
from preference.metrics import pair_margins
from preference.params import Params
from preference.statistics import Difference, mean_difference, share_difference
from preference.tables import Scores
from preference.transcripts import Pair, Unusable, split

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


@dataclass(frozen=True)
class Outcome:
    """What is to be said of published results; rows of cells are empty where there are none."""

    headline: str
    rows: list[list[str]] = field(default_factory=list)
    source: str = ""
    explanation: str = ""


def outcome(
    settings: Params, margins: Mapping[str, np.ndarray], titles: Mapping[str, str]
) -> Outcome:
    """Compare with the results that `report.published` names.

    Args:
        margins: chosen minus rejected scores of `baseline`, `sft` and `final`, (pairs,) each.
        titles: what to call these models.
    """
    name = settings.report.published
    if name is None:
        return Outcome(published.NOTHING_PUBLISHED)
    known = published.read(name)
    verdicts = published.judge(known, settings, margins)
    return Outcome(
        published.headline(verdicts, titles),
        [published.cells(verdict, titles, settings.report.decimals) for verdict in verdicts],
        known.source,
        published.explanation(verdicts),
    )


def flat(comparisons: dict[tuple[str, str], Comparison]) -> dict[str, float]:
    """Comparisons by (before, after), as the one level of keys that a metrics file has."""
    return {
        f"{after}_vs_{before}_{metric}_{field}": value
        for (before, after), comparison in comparisons.items()
        for metric, difference in comparison.items()
        for field, value in asdict(difference).items()
    }


def read_texts(raw: Path, rows: np.ndarray) -> list[Pair]:
    """The texts of prepared pairs.

    Args:
        raw: the table of `tables.RAW` that they were prepared from.
        rows: their numbers in it, (pairs,).
    """
    table = tables.read(raw, tables.RAW)
    if len(rows) and rows.max() >= table.num_rows:
        raise InputError(f"{raw}: has no row {rows.max()}; run dvc repro")
    found = []
    for row, dialogues in zip(rows, table.take(rows).to_pylist(), strict=True):
        pair = split(**dialogues)
        if isinstance(pair, Unusable):
            raise InputError(f"{raw}, row {row}: gives no pair ({pair}); run dvc repro")
        found.append(pair)
    return found


def read_metrics(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run dvc repro") from None


@dataclass(frozen=True)
class Rows:
    """Rows of cells: the metrics by model with the delta, and the paired differences."""

    models: list[list[str]]
    differences: list[list[str]]


def rows(
    models: dict[str, dict[str, float]], comparisons: dict[str, Comparison], decimals: int
) -> Rows:
    """The results as text.

    Args:
        models: metrics by model, in the order in which they were trained.
        comparisons: paired differences by title; the first one is the delta row.
        decimals: digits after the point.
    """

    def changed(found: Difference) -> list[str]:
        return [
            markdown.number(found.difference, decimals, signed=True),
            markdown.interval(found.low, found.high, decimals, signed=True),
        ]

    found = [[name, *markdown.estimates(values, decimals)] for name, values in models.items()]
    title, delta = next(iter(comparisons.items()))
    found.append([f"delta ({title})", *(cell for d in delta.values() for cell in changed(d))])
    differences = [
        [title, metric, *changed(difference), markdown.p_value(difference.p_value)]
        for title, comparison in comparisons.items()
        for metric, difference in comparison.items()
    ]
    return Rows(found, differences)


def table(found: Rows, compared: Outcome) -> str:
    """The results as Markdown, with what is to be said of published ones."""
    models = [("model", "left"), *markdown.ESTIMATES]
    differences = [("paired difference", "left"), ("metric", "left"), ("difference", "right")]
    differences += [markdown.INTERVAL, ("p-value", "right")]
    lines = [
        *markdown.table(models, found.models),
        "",
        *markdown.table(differences, found.differences),
        "",
        compared.headline,
    ]
    if compared.rows:
        lines += ["", *markdown.table(published.COLUMNS, compared.rows)]
        lines += ["", f"Published: {compared.source}", "", compared.explanation]
    return "\n".join(lines) + "\n"
