"""The table to the letter, the chart by value."""

import math
from typing import Any

import pytest

from preference.report import charts
from preference.report.charts import BLUE, ORANGE
from tools.sweep import outcomes
from tools.sweep.follow import Metrics, Outcome
from tools.sweep.study import Study, Variant

STUDY = Study.model_validate(
    {
        "title": "by noise",
        "x": {"param": "train.label_noise", "title": "share"},
        "runs": [{"train.label_noise": 0}],
    }
)
DPO, HALF = (Variant(f"dpo-{x:g}", x, "DPO", {"train.label_noise": x}) for x in (0.0, 0.5))
KTO = Variant("kto-0.25", 0.25, "KTO", {})


def metrics(accuracy: float, margin: float) -> Metrics:
    final = {
        "pairs": 40,
        "pair_acc": accuracy,
        "pair_acc_low": accuracy - 0.25,
        "pair_acc_high": accuracy + 0.125,
        "margin": margin,
        "margin_low": margin - 0.5,
        "margin_high": math.nan,
    }
    return {"baseline": {"pair_acc": 0.476}, "sft": {"pair_acc": 0.582}, "final": final}


OUTCOMES = [
    (DPO, Outcome(1.25, {}, ["sft-warmup", "train", "report"], metrics(0.75, 2.88))),
    (HALF, Outcome(14.0, {"train": 10.0, "report": 2.0}, ["sft-warmup"], metrics(0.5, 0.1))),
    (KTO, Outcome(3.04, {"train": 3.0}, error="the loss is nan")),
]


def test_lines_for_those_who_watch() -> None:
    assert [outcomes.summary(*one) for one in OUTCOMES] == [
        "dpo-0: ran nothing; reused 3 stages",
        "dpo-0.5: ran train (10.0 s), report (2.0 s); reused 1 stages",
        "kto-0.25: ran train (3.0 s); failed: the loss is nan",
    ]


def test_what_was_measured_counts_before_what_was_noted() -> None:
    two = OUTCOMES[:2]
    begun = "4 of 6 stage runs were reused, which saved"
    noted = {"sft-warmup": 30.0, "train": 100.0, "report": 100.0, "other": 1.0}
    assert outcomes.saving(two, noted) == f"{begun} about 72 s of 87 s. The runs took 15 s."
    assert outcomes.saving(two, {}) == (
        f"{begun} at least (2 of them were never timed here) 12 s of 27 s. The runs took 15 s."
    )


def test_table_to_the_letter() -> None:
    assert (
        outcomes.table(OUTCOMES, STUDY, {"sft-warmup": 30.0}, decimals=3)
        == """\
| variant | pair_acc | 95% interval | margin | 95% interval | stages run | reused | seconds |
| --- | ---: | :---: | ---: | :---: | --- | ---: | ---: |
| dpo-0 | 0.750 | 0.500 to 0.875 | 2.880 | 2.380 to n/a | none | 3 | 1.2 |
| dpo-0.5 | 0.500 | 0.250 to 0.625 | 0.100 | -0.400 to n/a | train, report | 1 | 14.0 |
| kto-0.25 | failed |  | failed |  | train |  | 3.0 |

4 of 7 stage runs were reused, which saved about 65 s of 83 s. The runs took 18 s. Seconds are \
those of the run that wrote this table, on its machine. A step has as many pairs under every \
objective, unless the study sets `train.batch_size`.

`dpo-0` is what `params.yaml` asks for, and its results are those in this directory. The others \
are experiments, for `dvc exp show` and `dvc exp apply` under their names with `sweep-` before them.

`kto-0.25` failed: the loss is nan
"""
    )


def test_all_stages_ran() -> None:
    alone = [(DPO, Outcome(60.0, {"train": 50.0}, [], metrics(0.75, 2.88)))]
    assert "| all | 0 | 60.0 |" in outcomes.table(alone, STUDY, {}, 4)


def rows(spec: dict[str, Any]) -> list[tuple[str, str, float, float, float]]:
    keys = ("series", "at", "value", "low", "high")
    return [tuple(row[key] for key in keys) for row in spec["data"]["values"]]


def test_chart_shows_the_values_and_leaves_out_what_failed() -> None:
    spec = outcomes.chart(OUTCOMES, STUDY)
    assert rows(spec) == [
        ("DPO", "0.0", 0.75, 0.5, 0.875),
        ("DPO", "0.5", 0.5, 0.25, 0.625),
    ]
    levels, *layers = spec["layer"]
    assert levels["data"]["values"] == [
        {"title": "baseline", "pair_acc": 0.476},
        {"title": "SFT", "pair_acc": 0.582},
    ]
    assert [layer["mark"]["type"] for layer in layers] == ["line", "rule", "point"]
    # One axis, which holds the levels, too.
    scales = [layer["encoding"]["y"]["scale"]["domain"] for layer in spec["layer"]]
    assert scales == [[0.25, 0.875]] * 4
    assert spec["title"] == "by noise"
    assert layers[0]["encoding"]["x"]["title"] == "share"


def test_chart_goes_from_left_to_right_by_number_with_a_line_each() -> None:
    found = [(v, Outcome(1.0, {}, ["train"], metrics(0.5, 1.0))) for v in (HALF, KTO, DPO)]
    spec = outcomes.chart(found, STUDY)
    for layer in spec["layer"][1:]:
        encoding = layer["encoding"]
        assert encoding["x"]["sort"] == ["0.0", "0.25", "0.5"]
        assert encoding["color"]["scale"] == {"domain": ["DPO", "KTO"], "range": [ORANGE, BLUE]}
    assert [row[:2] for row in rows(spec)] == [("DPO", "0.0"), ("DPO", "0.5"), ("KTO", "0.25")]


def test_series_that_share_a_place_stand_beside_each_other() -> None:
    same = Variant("kto-0", 0.0, "KTO", {})
    found = [(v, Outcome(1.0, {}, ["train"], metrics(0.5, 1.0))) for v in (DPO, same)]
    for layer in outcomes.chart(found, STUDY)["layer"][1:]:
        assert layer["encoding"]["xOffset"]["sort"] == ["DPO", "KTO"]


def test_what_a_study_changes_is_no_level() -> None:
    other = {**metrics(0.5, 1.0), "sft": {"pair_acc": 0.6}}
    found = [OUTCOMES[0], (HALF, Outcome(1.0, {}, ["fetch-data"], other))]
    levels = outcomes.chart(found, STUDY)["layer"][0]["data"]["values"]
    assert [level["title"] for level in levels] == ["baseline"]


def test_more_series_than_colours() -> None:
    found = [
        (Variant(f"{n}", n, f"series {n}", {}), Outcome(1.0, {}, ["train"], metrics(0.5, 1.0)))
        for n in range(5)
    ]
    colours = outcomes.chart(found, STUDY)["layer"][1]["encoding"]["color"]["scale"]["range"]
    assert len(colours) == 5


@pytest.mark.parametrize("places", [(0.0, 0.5), ("dpo", "kto")])
def test_chart_is_drawn_the_same_each_time_on_white(places: tuple[object, object]) -> None:
    runs = zip(places, ("DPO", "KTO"), strict=True)
    found = [
        (Variant(name, place, name, {}), Outcome(1.0, {}, ["train"], metrics(0.5, 1.0)))
        for place, name in runs
    ]
    drawn = charts.image(outcomes.chart(found, STUDY))
    assert drawn == charts.image(outcomes.chart(found, STUDY))
    assert 'fill="white"' in drawn
    assert ' role="img" aria-label="by noise. test pair_acc, with 95% interval by share, ' in drawn
    for text in ("DPO", "KTO", "SFT", "baseline", "share", "by noise"):
        assert f">{text}<" in drawn


def test_without_pairs_variants_are_compared_by_auc() -> None:
    """Labelled responses alone: pair_acc is null in the files."""

    def of_labels(auc: float) -> Metrics:
        found: dict[str, Any] = dict.fromkeys(metrics(0, 0)["final"])
        for name in ("auc", "label_margin"):
            found |= {name: auc, f"{name}_low": auc - 0.1, f"{name}_high": auc + 0.05}
        level = {"pair_acc": None, "auc": 0.5}
        return {"baseline": level, "sft": level, "final": found | {"pairs": 0}}

    two = [(DPO, Outcome(1, {}, ["train"], of_labels(0.6)))]
    two.append((HALF, Outcome(1, {}, ["train"], of_labels(0.7))))
    rows = outcomes.table(two, STUDY, {}, decimals=2).splitlines()
    assert rows[0].startswith("| variant | auc | 95% interval | label_margin | 95% interval |")
    assert rows[3].startswith("| dpo-0.5 | 0.70 | 0.60 to 0.75 | 0.70 | 0.60 to 0.75 |")
    spec = outcomes.chart(two, STUDY)
    assert [row["auc"] for row in spec["layer"][0]["data"]["values"]] == [0.5, 0.5]
    assert "test auc, with 95% interval" in charts.svg(spec, "by noise")
