"""What came of a study's runs: their table and their chart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle

from preference.evaluation.summary import headline
from preference.report import charts, markdown
from preference.report.analysis import Point
from preference.report.axes import Axis, share
from preference.report.charts import BLUE, FONT, GREY, ORANGE, Spec
from tools.sweep.follow import Metrics, Outcome
from tools.sweep.study import Study, Variant

RUN = (("stages run", "left"), ("reused", "right"), ("seconds", "right"))
PALETTE = (ORANGE, BLUE, GREY)
LEVELS = (("baseline", "baseline"), ("SFT", "sft"))  # titles and their metrics files

Outcomes = Sequence[tuple[Variant, Outcome]]  # of what `params.yaml` asks for first


def summary(variant: Variant, outcome: Outcome) -> str:
    """A variant's stages, for people who watch."""
    ran = ", ".join(f"{stage} ({spent:.1f} s)" for stage, spent in outcome.ran.items())
    then = f"failed: {outcome.error}" if outcome.error else f"reused {len(outcome.reused)} stages"
    return f"{variant.name}: ran {ran or 'nothing'}; {then}"


def saving(outcomes: Outcomes, noted: Mapping[str, float]) -> str:
    """What reuse saved, in a sentence.

    Args:
        noted: seconds by stage, for those that did not run this time.
    """
    took = sum(outcome.seconds for _, outcome in outcomes)
    ran = [item for _, outcome in outcomes for item in outcome.ran.items()]
    reused = [stage for _, outcome in outcomes for stage in outcome.reused]
    seconds = {**noted, **dict(ran)}
    saved = sum(seconds.get(stage, 0.0) for stage in reused)
    unknown = sum(stage not in seconds for stage in reused)
    about = f"at least ({unknown} of them were never timed here)" if unknown else "about"
    return (
        f"{len(reused)} of {len(reused) + len(ran)} stage runs were reused, which saved {about} "
        f"{saved:.0f} s of {saved + took:.0f} s. The runs took {took:.0f} s."
    )


def table(outcomes: Outcomes, study: Study, noted: Mapping[str, float], decimals: int) -> str:
    """The variants as Markdown, and what reuse saved.

    Args:
        noted: as `saving` takes it.
        decimals: digits after the point.
    """
    metrics = measured(outcomes)
    columns = [("variant", "left"), *markdown.columns(metrics), *RUN]
    lines = [
        *markdown.table(columns, [_row(*one, metrics, decimals) for one in outcomes]),
        "",
        f"{saving(outcomes, noted)} Seconds are those of the run that wrote this table, on its "
        "machine. A step has as many pairs under every objective, unless the study sets "
        "`train.batch_size`.",
        "",
        *notes(outcomes),
    ]
    return "\n".join(lines) + "\n"


def notes(outcomes: Outcomes) -> list[str]:
    """Where the runs are, and why some failed, as lines of Markdown."""
    return [
        f"`{outcomes[0][0].name}` is what `params.yaml` asks for, and its results are those in "
        "this directory. The others are experiments, for `dvc exp show` and `dvc exp apply` under "
        "their names with `sweep-` before them.",
        *(f"\n`{variant.name}` failed: {o.error}" for variant, o in outcomes if o.error),
    ]


def measured(outcomes: Outcomes) -> tuple[str, ...]:
    """By which metrics the variants are compared: all have the same test data."""
    found = [outcome.metrics["final"] for _, outcome in outcomes if not outcome.error]
    return tuple(headline(found[0])) if found else markdown.METRICS


def _row(variant: Variant, outcome: Outcome, metrics: Sequence[str], decimals: int) -> list[str]:
    ran, spent = ", ".join(outcome.ran) or "none", f"{outcome.seconds:.1f}"
    if outcome.error:
        return [variant.name, *["failed", ""] * len(metrics), ran, "", spent]
    found = markdown.estimates(outcome.metrics["final"], decimals, metrics)
    reused = len(outcome.reused)
    return [variant.name, *found, ran if reused else "all", str(reused), spent]


def chart(outcomes: Outcomes, study: Study) -> Spec:
    """Accuracy with its intervals over the study's x, and of baseline and SFT, as Vega-Lite."""
    metric, *_ = measured(outcomes)
    finished = [(variant, outcome.metrics) for variant, outcome in outcomes if not outcome.error]
    finished.sort(key=lambda one: one[0].x if isinstance(one[0].x, int | float) else 0)
    series: dict[str, list[Point]] = {}
    for variant, metrics in finished:
        series.setdefault(variant.series, []).append(point(str(variant.x), metrics, metric))
    places = list(dict.fromkeys(str(variant.x) for variant, _ in finished))
    return drawn(series, places, study, metric, [metrics for _, metrics in finished])


def point(at: float | str, metrics: Metrics, metric: str, model: str = "final") -> Point:
    """What a run came to, with the interval that the metrics of one of its models have."""
    found = metrics[model]
    value, low, high = (found[f"{metric}{end}"] for end in ("", "_low", "_high"))
    return Point(at, value, low, high, found["pairs"] or None)


def drawn(
    series: Mapping[str, Sequence[Point]],
    places: Sequence[str],
    study: Study,
    metric: str,
    found: Sequence[Metrics],
    *,
    joined: bool = True,
) -> Spec:
    """Points by series, and the levels of baseline and SFT.

    Args:
        places: where points stand, from left to right.
        found: the metrics of all runs.
        joined: points of a series have a line between them.
    """
    colours = dict(zip(series, cycle(PALETTE), strict=False))
    levels = _levels(found, metric)
    known = [level[metric] for level in levels["data"]["values"]]
    y = share(f"test {metric}, with 95% interval")
    spec = charts.points(series, Axis(study.x.title), replace(y, holds=(*y.holds, *known)), colours)
    for layer in spec["layer"]:
        encoding = layer["encoding"]
        encoding["x"]["sort"] = list(places)
        if "xOffset" in encoding:
            # Close to their place, which is a number more often than not.
            encoding["xOffset"]["scale"] = {"paddingOuter": 3}
    line = {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": spec["layer"][-1]["encoding"]}
    levels["encoding"]["y"] |= {"scale": spec["layer"][-1]["encoding"]["y"]["scale"]}
    lines = [line] if joined else []
    return {**spec, "title": study.title, "layer": [levels, *lines, *spec["layer"]]}


def _levels(found: Sequence[Metrics], metric: str) -> Spec:
    """A dashed line each for baseline and SFT, where they are the same in all runs."""
    rows = [
        {"title": title, metric: found[0][file][metric]}
        for title, file in LEVELS
        if len({metrics[file][metric] for metrics in found}) == 1
    ]
    title = {"text": {"field": "title"}, "x": {"value": "width"}}
    return {
        "data": {"values": rows},
        "encoding": {"y": {"field": metric, "type": "quantitative"}, "color": {"value": GREY}},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [4, 4]}},
            {"mark": {"type": "text", "align": "left", "dx": 4, "font": FONT}, "encoding": title},
        ],
    }
