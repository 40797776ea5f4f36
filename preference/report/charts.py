"""The charts of the report: Vega-Lite specifications, drawn as SVG without script or network."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from preference.report.analysis import Point
from preference.report.axes import Axis

Spec = dict[str, Any]
Curve = Sequence[tuple[float, float]]
Colours = Mapping[str, str]  # by series

# Three times as bright or dark as white and as the page's black, or more; told apart by those who
# do not see red and green. The last two are for the two sides of a pair.
GREY, BLUE, ORANGE, GREEN, PURPLE = "#8b8f97", "#3f8fd2", "#d47a0a", "#2a9d74", "#bd6ab5"
WIDTH, HEIGHT = 330, 200  # as wide as a phone shows without making it small
LETTERS = 42  # that fit below an axis
PADDING = 8  # pixels between what is shown and the ends of an axis
TICKS = 5  # of an axis of numbers, at most some more
FONT = "system-ui, sans-serif"
# So that a chart takes the colour of the text around it, light or dark.
INK = "currentColor"
DASHED: Spec = {"strokeDash": [4, 4], "opacity": 0.6}
# What a mark says of itself: read aloud, and shown by the page where the pointer rests.
TOLD = {"field": "told", "type": "nominal"}
SAID = re.compile(
    r'aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="(?:point|rule mark)"'
)


def svg(spec: Spec, title: str = "", ink: str = INK, background: str | None = None) -> str:
    """Draw a chart, which has a name and says what its marks say.

    Args:
        title: what stands above it, for its name.
        ink: colour of axes and text.
        background: None lets shine through what is behind it.
    """
    import vl_convert

    look = {"background": background, "config": _config(ink)}
    drawn = vl_convert.vegalite_to_svg({**look, **spec})
    name = ". ".join(filter(None, [title, spec.get("title"), spec["description"]]))
    start, end = drawn.split(">", 1)
    # An image's parts are not read aloud, and the description is.
    said = "; ".join(SAID.findall(end))
    return f'{start} role="img" aria-label="{escape(name)}"><desc>{said}</desc>{end}'


def image(spec: Spec) -> str:
    """Draw a chart on white, for pages of any colour."""
    return svg({"padding": 12, **spec}, ink="#1d2026", background="white")


def _config(ink: str) -> Spec:
    text = {"labelColor": ink, "titleColor": ink, "labelFont": FONT, "titleFont": FONT}
    lines = {"gridColor": ink, "gridOpacity": 0.15, "domainColor": ink, "tickColor": ink}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    # Who looks may have a wider font than was there when it was drawn.
    room = {"labelLimit": 200, "titlePadding": 14, "labelSeparation": 12}
    return {
        "axis": {**text, **lines, **sizes, **room},
        "axisY": {"minExtent": 38},
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


def _scale(axis: Axis, values: Sequence[float]) -> Spec:
    return {"domain": axis.domain(values), "padding": PADDING}


def _panel(rows: list[Spec], told: str, layers: list[Spec]) -> Spec:
    """Layers over rows, whose marks say the expression `told` of themselves."""
    transform = [{"calculate": told, "as": "told"}]
    data = {"data": {"values": rows}, "transform": transform}
    return {"width": WIDTH, "height": HEIGHT, "layer": layers, **data}


def _across(level: tuple[float, str], y: Spec) -> Spec:
    """A dashed line on the y axis of the points, which says what it is."""
    value, label = level
    # On its own it would let the axis begin at 0, and have no grid.
    place = {"datum": value, **y, "axis": {"grid": True}}
    encoding = {"y": place, "description": {"value": f"{label}: {value:.4f}"}}
    return {"data": {"values": [{}]}, "mark": {"type": "rule", **DASHED}, "encoding": encoding}


def _whole_numbers(values: Sequence[float]) -> Spec:
    """Steps and epochs are whole numbers."""
    few = range(int(min(values, default=0)), int(max(values, default=0)) + 1)
    ticks: Spec = {"values": list(few)} if len(few) <= TICKS else {"tickCount": TICKS}
    return {"axis": {**ticks, "format": ",~f"}}


def points(
    series: Mapping[str, Sequence[Point]],
    x: Axis,
    y: Axis,
    colours: Colours,
    *,
    level: tuple[float, str] | None = None,
    diagonal: bool = False,
    joined: bool = False,
) -> Spec:
    """Values with their intervals, by series; where they stand are numbers, or labels in order.

    Args:
        level: a dashed line at a value, and what it is.
        diagonal: a dashed line where x and y are equal.
        joined: points that follow each other, by whole numbers, have a line between them.
    """
    rows = [{"series": name, **asdict(p)} for name, found in series.items() for p in found]
    place = _place(rows, x, series, joined=joined)
    names_itself = all(row["at"] == row["series"] for row in rows)
    shared = {**place, "color": _colour(series, colours, key=not names_itself)}
    held = [end for found in series.values() for p in found for end in (p.low, p.value, p.high)]
    held += [level[0]] if level else []
    ends = place["x"]["scale"]["domain"] if diagonal else []
    scale = _scale(y, [*held, *ends])
    spans = {"y": _axis("low", y.title, scale=scale), "y2": {"field": "high"}}
    value = {"y": _axis("value", y.title, scale=scale)}
    # Below the points: the pointer finds those.
    shape = {"type": "quantitative", "title": y.title, "scale": scale}
    layers = [_across(level, shape)] if level else []
    if diagonal:
        # Its axes are those of the points, which do not begin at 0.
        both = [
            _axis("end", axis.title, scale=s) for axis, s in ((x, place["x"]["scale"]), (y, scale))
        ]
        line = {"type": "line", **DASHED, "color": INK, "aria": False}
        data = {"values": [{"end": end} for end in ends]}
        layers.append({"data": data, "mark": line, "encoding": {"x": both[0], "y": both[1]}})
    if joined:
        line = {"type": "line", "strokeWidth": 1.6, "aria": False}
        layers.append({"mark": line, "encoding": {**shared, **value}})
    rule = {"type": "rule", "strokeWidth": 2, "aria": False}
    point = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    layers.append({"mark": rule, "encoding": {**shared, **spans}})
    layers.append({"mark": point, "encoding": {**shared, **value, "description": TOLD}})
    sure = any(math.isfinite(row["low"]) for row in rows)
    name = f"{y.title} by {x.title or 'model'}, {'with 95% intervals' if sure else 'no intervals'}"
    said = _told(rows, x.title if joined else "")
    return {**_panel(rows, said, layers), "description": _described(name, series, level)}


def _place(rows: Sequence[Spec], x: Axis, series: Mapping[str, object], *, joined: bool) -> Spec:
    """Where points stand from left to right."""
    labels = list(dict.fromkeys(row["at"] for row in rows))
    if joined:
        scale = {"zero": False, "nice": False, "padding": PADDING}
        return {"x": _axis("at", x.title, scale=scale, **_whole_numbers(labels))}
    if not any(isinstance(label, str) for label in labels):
        return {"x": _axis("at", x.title, scale=_scale(x, labels), axis={"tickCount": TICKS})}
    angle = 0 if sum(map(len, map(str, labels))) < LETTERS else -30
    place = {"x": _axis("at", x.title, "ordinal", sort=labels, axis={"labelAngle": angle})}
    # Series stand beside each other where they share a label.
    beside = {"xOffset": {"field": "series", "sort": list(series)}}
    return place | (beside if len(rows) > len(labels) else {})


def _told(rows: Sequence[Spec], counted: str) -> str:
    """The expression for what a point says of itself; `counted` is what its places count."""
    number = not any(isinstance(row["at"], str) for row in rows)
    at = "format(datum.at, '.3~f')" if number else "datum.at"
    return (
        f"datum.series + ', {counted}{' ' * bool(counted)}' + {at} + ': ' + "
        "format(datum.value, '.3f') + ' (' + "
        "(isValid(datum.low) ? '95% interval ' + format(datum.low, '.3f') + ' to ' + "
        "format(datum.high, '.3f') : 'no interval') + "
        "(isValid(datum.pairs) ? ', ' + datum.pairs + ' pairs)' : ')')"
    )


def _described(
    name: str, series: Mapping[str, object], level: tuple[float, str] | None = None
) -> str:
    """What a chart shows, for its name."""
    dashed = f"; dashed: {level[1]}" if level else ""
    return f"{name}: {', '.join(series)}{dashed}"


def lines(series: Mapping[str, Curve], x: str, y: str, colours: Colours) -> Spec:
    """Curves of many values without intervals, by series; x counts."""
    rows: list[Spec] = [
        {"series": n, "x": a, "y": b} for n, curve in series.items() for a, b in curve
    ]
    encoding = {
        "x": _axis("x", x, **_whole_numbers([row["x"] for row in rows])),
        "y": _axis("y", y, scale={"zero": False}),
        "color": _colour(series, colours, key=True),
    }
    line: Spec = {"type": "line", "strokeWidth": 1.6, "aria": False}
    drawn = _panel(rows, "''", [{"mark": line, "encoding": encoding}])
    return {**drawn, "description": _described(f"{y} by {x}", series)}


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
    shown = {"vconcat": panels, "spacing": 12, "resolve": {"scale": {"x": "shared"}}}
    return {**shown, "description": _described(f"share of pairs by {x}", histograms, (0, "0"))}


def beside(*specs: Spec) -> Spec:
    """Charts side by side, in one image."""
    together = "; ".join(spec["description"] for spec in specs)
    # What is blue here and orange there is told by each of them.
    independent = {"resolve": {"scale": {"color": "independent"}}}
    return {"hconcat": list(specs), "spacing": 40, **independent, "description": together}
