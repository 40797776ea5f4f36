"""The results table, to the letter."""

import math
from pathlib import Path
from typing import Any

import pytest

from preference.core.errors import InputError
from preference.evaluation.statistics import Difference
from preference.report import results
from preference.report.comparison import Comparison
from preference.report.findings import Finding, Weight
from preference.report.health import Health
from preference.report.verdict import Outcome
from preference.store.text import write_json

BASELINE = {
    "pair_acc": 0.452,
    "pair_acc_low": 0.4214,
    "pair_acc_high": 0.483,
    "margin": -0.07,
    "margin_low": -0.0912,
    "margin_high": -0.0488,
}
FINAL = {
    "pair_acc": 0.535,
    "pair_acc_low": 0.504,
    "pair_acc_high": 0.5657,
    "margin": 0.1228,
    "margin_low": 0.09996,
    "margin_high": 0.1456,
}
GAINED = {
    "pair_acc": Difference(0.083, 0.0412, 0.1248, 0.00012),
    "margin": Difference(0.1928, 0.17, 0.2156, 1e-60),
}
LOST = {
    "pair_acc": Difference(-0.01, -0.0312, 0.0112, 0.4071),
    "margin": Difference(-0.0012, -0.02, 0.0176, 0.001),
}


NOTHING = Outcome("Nothing is published.")
LEARNED = Health("Learned", "By much.", [Finding(Weight.NOTE, "with care")])


def markdown(
    models: dict[str, dict[str, float]], comparisons: dict[str, Comparison], decimals: int
) -> str:
    return results.table(results.rows(models, comparisons, decimals), NOTHING, LEARNED)


def test_the_table_to_the_letter() -> None:
    models = {"baseline": BASELINE, "SFT + DPO": FINAL}
    comparisons = {"SFT + DPO - baseline": GAINED, "SFT + DPO - SFT": LOST}
    assert (
        markdown(models, comparisons, decimals=3)
        == """\
**Learned.** By much.

- note: with care.

| model | pair_acc | 95% interval | margin | 95% interval |
| --- | ---: | :---: | ---: | :---: |
| baseline | 0.452 | 0.421 to 0.483 | -0.070 | -0.091 to -0.049 |
| SFT + DPO | 0.535 | 0.504 to 0.566 | 0.123 | 0.100 to 0.146 |
| delta (SFT + DPO - baseline) | +0.083 | +0.041 to +0.125 | +0.193 | +0.170 to +0.216 |

| paired difference | metric | difference | 95% interval | p-value |
| --- | --- | ---: | :---: | ---: |
| SFT + DPO - baseline | pair_acc | +0.083 | +0.041 to +0.125 | < 0.001 |
| SFT + DPO - baseline | margin | +0.193 | +0.170 to +0.216 | < 0.001 |
| SFT + DPO - SFT | pair_acc | -0.010 | -0.031 to +0.011 | 0.407 |
| SFT + DPO - SFT | margin | -0.001 | -0.020 to +0.018 | 0.001 |

Nothing is published.
"""
    )


def test_columns_are_those_of_the_metrics_that_are_compared() -> None:
    # As in a metrics file of data without pairs.
    values: dict[str, Any] = {"pairs": 0, "pair_acc": None, "auc": 0.75, "label_margin": -0.5}
    values |= {"auc_low": 0.5, "auc_high": 0.875, "label_margin_low": -1.0}
    values |= {"label_margin_high": 0.25}
    gained = {
        "auc": Difference(0.25, 0.125, 0.375, 0.0004),
        "label_margin": Difference(math.nan, math.nan, math.nan, math.nan),
    }
    lines = markdown({"baseline": values}, {"other": gained}, decimals=2).splitlines()[4:]
    assert lines[:4] == [
        "| model | auc | 95% interval | label_margin | 95% interval |",
        "| --- | ---: | :---: | ---: | :---: |",
        "| baseline | 0.75 | 0.50 to 0.88 | -0.50 | -1.00 to 0.25 |",
        "| delta (other) | +0.25 | +0.12 to +0.38 | n/a | n/a to n/a |",
    ]
    assert lines[7] == "| other | auc | +0.25 | +0.12 to +0.38 | < 0.001 |"
    assert lines[8] == "| other | label_margin | n/a | n/a to n/a | n/a |"


def test_decimals_are_a_choice_but_for_p_values() -> None:
    text = markdown({"baseline": BASELINE}, {"other": LOST}, decimals=2)
    assert "| baseline | 0.45 | 0.42 to 0.48 | -0.07 | -0.09 to -0.05 |" in text
    assert "| other | pair_acc | -0.01 | -0.03 to +0.01 | 0.407 |" in text


def test_what_one_pair_cannot_tell_is_not_available() -> None:
    # A metrics file holds null where a number was NaN.
    one = {**BASELINE, "margin_low": None, "margin_high": math.nan}
    unknown = {
        "pair_acc": Difference(1.0, math.nan, math.nan, 1.0),
        "margin": Difference(0.5, math.nan, math.nan, math.nan),
    }
    lines = markdown({"baseline": one}, {"other": unknown}, 2).splitlines()[4:]  # type: ignore[dict-item]
    assert lines[2] == "| baseline | 0.45 | 0.42 to 0.48 | -0.07 | n/a to n/a |"
    assert lines[3] == "| delta (other) | +1.00 | n/a to n/a | +0.50 | n/a to n/a |"
    assert lines[7] == "| other | pair_acc | +1.00 | n/a to n/a | 1.000 |"
    assert lines[8] == "| other | margin | +0.50 | n/a to n/a | n/a |"


@pytest.mark.parametrize(
    ("p_value", "shown"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0496, "0.050"), (1.0, "1.000")],
)
def test_p_values(p_value: float, shown: str) -> None:
    comparison = {"margin": Difference(1.0, 0.5, 1.5, p_value)}
    assert f"| {shown} |\n\n" in markdown({}, {"other": comparison}, 1)


def test_metrics_are_read_as_written(tmp_path: Path) -> None:
    write_json(tmp_path / "final.json", FINAL)
    assert results.read_metrics(tmp_path / "final.json") == FINAL


@pytest.mark.parametrize("content", [None, "{"])
def test_metrics_that_cannot_be_read_are_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "final.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"final\.json: cannot be read .*; run dvc repro"):
        results.read_metrics(path)
