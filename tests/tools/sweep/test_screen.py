"""A line and a point a variant: the table to the letter, the chart by value."""

from typing import Any

import numpy as np
import pytest

from preference.evaluation.statistics import share_difference
from preference.report import charts
from preference.store.index import Index
from preference.store.scores import Scores
from tools.sweep import screen
from tools.sweep.follow import Outcome
from tools.sweep.study import Study, Variant

STUDY = Study.model_validate(
    {
        "title": "objectives",
        "x": {"param": "train.beta", "title": "beta"},
        "view": "screen",
        "runs": [{"train.objective": ["dpo", "simpo", "kto"], "train.beta": 3.0}],
    }
)
SFT, FINAL = np.array([1.0, -1.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])


def scores(margins: np.ndarray) -> Scores:
    count = len(margins)
    index = Index(
        rows=np.arange(count),
        prompt_of=np.repeat(np.arange(count), 2),
        pairs=np.arange(2 * count).reshape(-1, 2),
        labels=np.full(2 * count, -1),
        weights=np.ones(2 * count),
    )
    logps = np.stack([margins, np.zeros(count)], axis=1).reshape(-1)
    return Scores(index, logps, np.ones(2 * count, dtype=int))


def ends(name: str, value: float, width: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}


def outcome(accuracy: float, kl: float) -> Outcome:
    pairs = {"pairs": 4}
    final: dict[str, Any] = {
        **pairs,
        **ends("pair_acc", accuracy, 0.125),
        **ends("margin", 1.0, 0.5),
        "chosen_log_ratio": -0.25,
        "rejected_log_ratio": -0.75,
        **ends("chosen_less_likely", 0.5, 0.25),
    }
    samples = {
        **ends("kl", kl, 1.0),
        **ends("answer_tokens", 30.0 + kl, 1.5),
        "sft_answer_tokens": 30.0,
        **ends("answer_tokens_change", kl, 2.0),
    }
    sft = {**pairs, **ends("pair_acc", 0.5, 0.125)}
    found = {"final": final, "samples": samples, "sft": sft}
    scored = {"sft": scores(SFT), "final": scores(FINAL)}
    return Outcome(10.0, {"train": 8.0}, ["prepare"], found, scores=scored)


def variant(objective: str) -> Variant:
    settings = {"train.objective": objective, "train.beta": 3.0}
    return Variant(f"{objective}-beta-3", 3.0, objective.upper(), settings)


FAILED = (variant("ipo"), Outcome(3.0, {}, error="the loss is nan"))
FOUND = [
    (variant("dpo"), outcome(1.0, 4.0)),
    FAILED,
    (variant("simpo"), outcome(0.75, 6.0)),
    (variant("kto"), outcome(0.625, 2.0)),
]


def test_a_line_a_variant() -> None:
    head, rule, *lines = screen.table(FOUND, STUDY, {}, decimals=3).splitlines()
    assert head == (
        "| no. | variant | pair_acc | 95% interval | pair_acc - SFT | 95% interval "
        "| KL from SFT, nats an answer | 95% interval | chosen log-ratio | rejected log-ratio "
        "| chosen less likely | 95% interval | tokens of a drawn answer - SFT | 95% interval |"
    )
    assert head.count("|") == rule.count("|") == lines[0].count("|")
    gained = share_difference(SFT > 0, FINAL > 0)
    assert lines[0] == (
        "| 1 | dpo-beta-3 | 1.000 | 0.875 to 1.125 "
        f"| +0.500 | {gained.low:+.3f} to {gained.high:+.3f} | 4.00 | 3.00 to 5.00 "
        "| -0.250 | -0.750 | 0.500 | 0.250 to 0.750 | +4.0 | +2.0 to +6.0 |"
    )
    # What failed has no line, and is told of.
    assert [line.split(" | ")[1] for line in lines[1:3]] == ["simpo-beta-3", "kto-beta-3"]
    assert "`ipo-beta-3` failed: the loss is nan" in lines


def test_where_all_failed_it_says_why() -> None:
    assert "`ipo-beta-3` failed: the loss is nan" in screen.table([FAILED], STUDY, {}, 3)


def test_accuracy_by_kl_and_by_length() -> None:
    spec = screen.chart(FOUND, STUDY)
    assert spec["title"] == "objectives"
    kl, length = spec["hconcat"]

    def points(panel: dict[str, Any]) -> list[tuple[object, ...]]:
        keys = ("series", "at", "value", "low", "high")
        return [tuple(row[key] for key in keys) for row in panel["data"]["values"]]

    assert points(kl) == [
        ("SFT", 0.0, 0.5, 0.375, 0.625),
        ("with a reference", 4.0, 1.0, 0.875, 1.125),
        ("without one", 6.0, 0.75, 0.625, 0.875),
        ("of labels", 2.0, 0.625, 0.5, 0.75),
    ]
    assert [row[1] for row in points(length)] == [30.0, 34.0, 36.0, 32.0]
    across, *_, numbers = kl["layer"]
    labelled = [(row["label"], row["from"], row["to"]) for row in across["data"]["values"]]
    assert labelled == [("1", 3.0, 5.0), ("2", 5.0, 7.0), ("3", 1.0, 3.0)]
    assert numbers["encoding"]["text"] == {"field": "label"}
    spans = [(row["from"], row["to"]) for row in length["layer"][0]["data"]["values"]]
    assert spans == [(32.5, 35.5), (34.5, 37.5), (30.5, 33.5)]
    assert kl["layer"][-2]["encoding"]["x"]["scale"]["domain"] == [0.0, 7.0]
    # All layers have one scale.
    kinds = [{la["encoding"]["x"]["scale"].get("type") for la in p["layer"]} for p in (kl, length)]
    assert kinds == [{"symlog"}, {None}]


def test_the_chart_is_drawn() -> None:
    drawn = charts.image(screen.chart(FOUND, STUDY))
    for text in ("1", "2", "3", "SFT", "without one", f"{screen.KL} (logarithmic)", screen.LENGTH):
        assert f">{text}<" in drawn


@pytest.mark.parametrize("gone", ["kl_low", "answer_tokens"])
def test_what_is_not_known_is_left_out_of_the_chart(gone: str) -> None:
    """`samples.kl_prompts: 0` draws nothing, and a single answer has no interval."""
    one = outcome(0.75, 4.0)
    samples = {k: None if k.startswith(gone) else v for k, v in one.metrics["samples"].items()}
    samples |= {"sft_answer_tokens": None} if gone == "answer_tokens" else {}
    bare = Outcome(1.0, {}, [], {**one.metrics, "samples": samples}, scores=one.scores)
    found = [(variant("dpo"), bare)]
    assert "n/a" in screen.table(found, STUDY, {}, decimals=3)
    spec = screen.chart(found, STUDY)
    assert "SFT" in charts.image(spec)
    kl, length = (len(panel["data"]["values"]) for panel in spec["hconcat"])
    assert (kl, length) == ((2, 2) if gone == "kl_low" else (2, 0))
