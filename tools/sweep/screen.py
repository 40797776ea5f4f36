"""Many objectives on one reference: what each gained over SFT, and what it did to the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preference.losses import named
from preference.report import charts, comparison, markdown
from preference.report.axes import Axis, share
from preference.report.charts import BLUE, FONT, GREEN, GREY, INK, ORANGE, Spec
from tools.sweep import outcomes
from tools.sweep.follow import Outcome
from tools.sweep.outcomes import Outcomes
from tools.sweep.study import OBJECTIVE, Study, Variant

SFT = "SFT"
KINDS = {SFT: GREY, "with a reference": BLUE, "without one": ORANGE, "of labels": GREEN}
SIZE = {"width": 420, "height": 320}
KL, LENGTH = "KL from SFT, nats an answer", "tokens of a drawn answer"
TICKS = [0, 1, 3, 10, 30, 100, 300, 1000]  # of the KL
LESS = "chosen less likely"


@dataclass(frozen=True)
class Entry:
    """A finished run, with its number in table and chart."""

    number: int
    variant: Variant
    outcome: Outcome

    @property
    def kind(self) -> str:
        """What its objective goes by."""
        objective = named(self.variant.settings[OBJECTIVE])
        if objective.needs == "labels":
            return "of labels"
        return "with a reference" if objective.reference else "without one"


def entries(found: Outcomes) -> list[Entry]:
    """Those that finished, counted from 1."""
    finished = [(variant, outcome) for variant, outcome in found if not outcome.error]
    return [Entry(number, *one) for number, one in enumerate(finished, 1)]


def table(found: Outcomes, study: Study, noted: Mapping[str, float], decimals: int) -> str:
    """A line a variant, as Markdown; see `outcomes.table`."""
    known, (metric, *_) = entries(found), outcomes.measured(found)
    columns = [
        ("no.", "right"),
        ("variant", "left"),
        *markdown.columns([metric, f"{metric} - SFT"]),
        *markdown.columns([KL]),
        ("chosen log-ratio", "right"),
        ("rejected log-ratio", "right"),
        *markdown.columns([LESS, f"{LENGTH} - SFT"]),
    ]
    lines = markdown.table(columns, [_row(entry, metric, decimals) for entry in known])
    told = (
        "Log-ratios are of policy to SFT, in nats (a token, where scores are means). KL and "
        "lengths are of answers that the models drew, cut at `samples.max_new_tokens`; see "
        "docs/experiments.md."
    )
    rest = [outcomes.saving(found, noted), "", *outcomes.notes(found)]
    return "\n".join([*lines, "", told, "", *rest]) + "\n"


def _row(entry: Entry, metric: str, decimals: int) -> list[str]:
    outcome, variant = entry.outcome, entry.variant
    final, drawn = outcome.metrics["final"], outcome.metrics["samples"]
    scores = outcome.scores
    gained = comparison.compare(scores["sft"], scores["final"], variant.normalize)[metric]
    change = {key.removeprefix("answer_tokens_"): value for key, value in drawn.items()}
    return [
        str(entry.number),
        variant.name,
        *markdown.estimates(final, decimals, [metric]),
        *markdown.changed(gained, decimals),
        *markdown.estimates(drawn, 2, ["kl"]),
        *(markdown.number(final[f"{side}_log_ratio"], decimals) for side in ("chosen", "rejected")),
        *markdown.estimates(final, decimals, ["chosen_less_likely"]),
        markdown.number(change["change"], 1, signed=True),
        markdown.interval(change["change_low"], change["change_high"], 1, signed=True),
    ]


def chart(found: Outcomes, study: Study) -> Spec:
    """Accuracy by KL from SFT, and by the length of answers; a number stands by each point."""
    known, (metric, *_) = entries(found), outcomes.measured(found)
    title = f"test {metric}, with 95% interval"
    panels = [
        _panel(known, metric, title, KL, "kl", 0.0),
        _panel(known, metric, title, LENGTH, "answer_tokens", None),
    ]
    return {**charts.beside(*panels), "title": study.title}


def _panel(
    known: Sequence[Entry], metric: str, title: str, x: str, key: str, at_sft: float | None
) -> Spec:
    """Accuracy by one of the metrics of drawn answers, SFT's among them; unknown ones are left out.

    Args:
        at_sft: where SFT stands; None: where the runs say that it does.
    """
    first = known[0].outcome.metrics
    place = first["samples"][f"sft_{key}"] if at_sft is None else at_sft
    series = {} if _unknown(place) else {SFT: [outcomes.point(place, first, metric, "sft")]}
    labels: list[dict[str, Any]] = []
    for entry in known:
        drawn = entry.outcome.metrics["samples"]
        if _unknown(drawn[key]):
            continue
        point = outcomes.point(drawn[key], entry.outcome.metrics, metric)
        series.setdefault(entry.kind, []).append(point)
        label = {"at": point.at, "value": point.value, "label": str(entry.number)}
        ends = {end: drawn.get(f"{key}_{side}") for end, side in (("from", "low"), ("to", "high"))}
        labels.append(label | ends)
    held = [label[end] for label in labels for end in ("from", "to") if not _unknown(label[end])]
    spec = charts.points(series, Axis(x, holds=tuple(held)), share(title), KINDS)
    if at_sft is not None:
        # Some go hundreds of nats away, and most a few.
        for layer in spec["layer"]:
            layer["encoding"]["x"] |= {"axis": {"values": TICKS}, "title": f"{x} (logarithmic)"}
            layer["encoding"]["x"]["scale"] |= {"type": "symlog"}
    encoding = spec["layer"][-1]["encoding"]
    scales = {name: encoding[name] for name in ("x", "y")}
    number = {"type": "text", "align": "left", "dx": 5, "dy": -6, "font": FONT, "color": INK}
    across = {"type": "rule", "strokeWidth": 1, "opacity": 0.4, "aria": False}
    span = {"x": {**scales["x"], "field": "from"}, "x2": {"field": "to"}, "y": scales["y"]}
    data = {"data": {"values": labels}}
    spans = {**data, "mark": across, "encoding": span}
    numbers = {**data, "mark": number, "encoding": {**scales, "text": {"field": "label"}}}
    layers = [spans, *spec["layer"], numbers] if held else [*spec["layer"], numbers]
    return {**spec, **SIZE, "layer": layers}


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)
