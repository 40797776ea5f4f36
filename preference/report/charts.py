"""The charts of the report: Vega-Lite specifications, drawn as SVG without script or network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from preference.report.analysis import Point

Spec = dict[str, Any]
Curve = Sequence[tuple[float, float]]
Colours = Mapping[str, str]  # by series

# Readable on white and on black; told apart by those who do not see red and green.
GREY, BLUE, ORANGE = "#8b8f97", "#3f8fd2", "#e08a1e"
WIDTH, HEIGHT = 400, 210
LETTERS = 50  # that fit below an axis
TICKS = 6  # of an axis of numbers, at most some more
FONT = "system-ui, sans-serif"
# So that a chart takes the colour of the text around it, light or dark.
INK = "currentColor"
DASHED: Spec = {"strokeDash": [4, 4], "opacity": 0.6}
# What a mark says of itself: read aloud, and shown by the page where the pointer rests.
TOLD = {"field": "told", "type": "nominal"}


def svg(spec: Spec, ink: str = INK, background: str | None = None) -> str:
    """Draw a chart.

    Args:
        ink: colour of axes and text.
        background: None lets shine through what is behind it.
    """
    import vl_convert

    look = {"background": background, "config": _config(ink)}
    return vl_convert.vegalite_to_svg({**look, **spec})


def image(spec: Spec) -> str:
    """Draw a chart on white, for pages of any colour."""
    return svg({"padding": 12, **spec}, ink="#1d2026", background="white")


def _config(ink: str) -> Spec:
    text = {"labelColor": ink, "titleColor": ink, "labelFont": FONT, "titleFont": FONT}
    lines = {"gridColor": ink, "gridOpacity": 0.15, "domainColor": ink, "tickColor": ink}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "axis": {**text, **lines, **sizes, "labelLimit": 200},
        "legend": {**text, **sizes, "orient": "bottom", "title": None, "symbolOpacity": 1},
        "title": {"color": ink, "font": FONT, "fontSize": 13, "anchor": "start"},
        "view": {"stroke": None},
        "rule": {"color": ink},
    }


def _colour(series: Mapping[str, object], colours: Colours, *, key: bool) -> Spec:
    scale = {"domain": list(series), "range": [colours[name] for name in series]}
    # A single series needs no key.
    hidden = {} if key and len(series) > 1 else {"legend": None}
    return {"field": "series", "type": "nominal", "sort": None, "scale": scale, **hidden}


def _axis(field: str, title: str, kind: str = "quantitative", **more: object) -> Spec:
    return {"field": field, "type": kind, "title": title, **more}


def _panel(
    rows: list[Spec], told: str, layers: list[Spec], level: tuple[float, str] | None
) -> Spec:
    """Layers over rows, whose marks say the expression `told` of themselves.

    Args:
        level: a dashed line across, such as chance or the baseline, and what it is.
    """
    if level is not None:
        value, label = level
        across = {"y": {"datum": value}, "description": {"value": f"{label}: {value:.4f}"}}
        rule = {"type": "rule", **DASHED}
        layers = [*layers, {"data": {"values": [{}]}, "mark": rule, "encoding": across}]
    transform = [{"calculate": told, "as": "told"}]
    data = {"data": {"values": rows}, "transform": transform}
    return {"width": WIDTH, "height": HEIGHT, "layer": layers, **data}


def points(
    series: Mapping[str, Sequence[Point]],
    x: str,
    y: str,
    colours: Colours,
    *,
    level: tuple[float, str] | None = None,
    diagonal: bool = False,
) -> Spec:
    """Values with their intervals, by series; where they stand are numbers, or labels in order.

    Args:
        level: a dashed line at a value, and what it is.
        diagonal: a dashed line where x and y are equal.
    """
    rows = [{"series": name, **asdict(p)} for name, found in series.items() for p in found]
    labels = list(dict.fromkeys(row["at"] for row in rows))
    ordinal = any(isinstance(label, str) for label in labels)
    if ordinal:
        angle = 0 if sum(map(len, map(str, labels))) < LETTERS else -30
        place = {"x": _axis("at", x, "ordinal", sort=labels, axis={"labelAngle": angle})}
        # Series stand beside each other where they share a label.
        if len(rows) > len(labels):
            place["xOffset"] = {"field": "series", "sort": list(series)}
    else:
        place = {"x": _axis("at", x, scale={"zero": False}, axis={"tickCount": TICKS})}
    key = any(row["at"] != row["series"] for row in rows)
    shared = {**place, "color": _colour(series, colours, key=key)}
    ends = {"y": _axis("low", y, scale={"zero": False}), "y2": {"field": "high"}}
    value = {"y": _axis("value", y, scale={"zero": False}), "description": TOLD}
    rule = {"type": "rule", "strokeWidth": 2, "aria": False}
    point = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    layers: list[Spec] = [
        {"mark": rule, "encoding": {**shared, **ends}},
        {"mark": point, "encoding": {**shared, **value}},
    ]
    if diagonal:
        both = {"field": "at", "type": "quantitative"}
        line = {"type": "line", **DASHED, "color": INK}
        layers.insert(0, {"mark": line, "encoding": {"x": both, "y": both}})
    at = "datum.at" if ordinal else "format(datum.at, '.3~f')"
    told = (
        f"datum.series + ', ' + {at} + ': ' + format(datum.value, '.3f') + ' (' + "
        "(isValid(datum.low) ? '95% interval ' + format(datum.low, '.3f') + ' to ' + "
        "format(datum.high, '.3f') : 'no interval') + ', ' + datum.pairs + ' pairs)'"
    )
    return _panel(rows, told, layers, level)


def lines(
    series: Mapping[str, Curve],
    x: str,
    y: str,
    colours: Colours,
    *,
    level: tuple[float, str] | None = None,
    marks: bool = False,
) -> Spec:
    """Curves, by series.

    Args:
        level: a dashed line at a value, and what it is.
        marks: a mark at every value, for curves of few.
    """
    rows = [{"series": n, "x": a, "y": b} for n, curve in series.items() for a, b in curve]
    values = [x for curve in series.values() for x, _ in curve]
    few = range(int(min(values, default=0)), int(max(values, default=0)) + 1)
    # Steps and epochs are whole numbers.
    ticks: Spec = {"values": list(few)} if len(few) <= TICKS else {"tickCount": TICKS}
    ticks["format"] = ",~f"
    line: Spec = {"type": "line", "strokeWidth": 1.6, "aria": False}
    encoding = {
        "x": _axis("x", x, axis=ticks),
        "y": _axis("y", y, scale={"zero": False}),
        "color": _colour(series, colours, key=True),
    }
    layers: list[Spec] = [{"mark": line, "encoding": encoding}]
    if marks:
        point = {"type": "point", "filled": True, "size": 50, "opacity": 1}
        layers.append({"mark": point, "encoding": {**encoding, "description": TOLD}})
    told = f"datum.series + ', {x} ' + format(datum.x, '~f') + ': ' + format(datum.y, '.4f')"
    return _panel(rows, told, layers, level)


def distribution(
    histograms: Mapping[str, list[dict[str, float]]], x: str, colours: Colours
) -> Spec:
    """Histograms by model below each other, on one x axis, as `analysis.histograms` gives them.

    Each has a y axis of its own: where one model's values lie together and another's spread, the
    first would flatten the second.
    """
    rule = {"type": "rule", **DASHED, "aria": False}
    zero = {"data": {"values": [{}]}, "mark": rule, "encoding": {"x": {"datum": 0}}}
    size, ticks = {"width": WIDTH, "height": HEIGHT // 2}, {"tickCount": TICKS}
    panels = []
    *_, last = histograms
    for model, rows in histograms.items():
        bar = {"type": "bar", "color": colours[model], "aria": False}
        title = x if model == last else ""
        encoding = {
            "x": _axis("from", title, scale={"nice": False}, axis=ticks),
            "x2": {"field": "to"},
            "y": _axis("share", "share", axis={"format": "%", "tickCount": 3}),
            "y2": {"datum": 0},
        }
        layers = [{"mark": bar, "encoding": encoding}, zero]
        panels.append({**size, "layer": layers, "data": {"values": rows}, "title": model})
    return {"vconcat": panels, "spacing": 12, "resolve": {"scale": {"x": "shared"}}}


def beside(*specs: Spec) -> Spec:
    """Charts side by side, in one image."""
    # What is blue here and orange there is told by each of them.
    return {"hconcat": list(specs), "spacing": 40, "resolve": {"scale": {"color": "independent"}}}
