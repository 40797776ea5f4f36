"""Numbers and tables as text."""

import math

import pytest
from settings import params

from preference.report import markdown


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [
        (0.12345, False, "0.123"),
        (0.12345, True, "+0.123"),
        (-2.0, True, "-2.000"),
        (None, True, "n/a"),
        (math.nan, False, "n/a"),
    ],
)
def test_numbers(value: float | None, signed: bool, shown: str) -> None:
    assert markdown.number(value, 3, signed=signed) == shown


def test_estimates_follow_their_columns() -> None:
    values = {"pair_acc": 0.5, "pair_acc_low": 0.4, "pair_acc_high": 0.6}
    values |= {"margin": 1.0, "margin_low": math.nan, "margin_high": math.nan}
    found = markdown.estimates(values, 2)
    assert found == ["0.50", "0.40 to 0.60", "1.00", "n/a to n/a"]
    assert len(found) == len(markdown.columns())
    values = {"auc": 0.75, "auc_low": 0.5, "auc_high": 0.875}
    assert markdown.estimates(values, 3, ("auc",)) == ["0.750", "0.500 to 0.875"]
    assert markdown.columns(("auc",)) == [("auc", "right"), ("95% interval", "centre")]


def test_a_bar_ends_no_cell() -> None:
    columns = [("a", "left"), ("b", "right"), ("c", "centre")]
    assert markdown.table(columns, [["x|y", "1", ""]]) == [
        "| a | b | c |",
        "| --- | ---: | :---: |",
        "| x\\|y | 1 |  |",
    ]


def test_params_are_as_their_file_has_them() -> None:
    found = dict(markdown.params(params("bf16", "cpu")))
    assert found["seed"] == "0"
    assert found["data.source"] == "demo"
    assert found["data.revision"] == "null"
    assert found["sft.dropout"] == "false"
    assert found["train.kto.target_kl"] == "0.0"
    assert found["precision"] == "bf16"
    # They change speed, and never results.
    assert not [name for name in found if name.startswith("runtime.")]
