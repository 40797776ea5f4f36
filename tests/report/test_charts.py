"""The charts: what is drawn says its values, and needs nothing from outside."""

import math
from xml.etree import ElementTree

import pytest

from preference.report import charts
from preference.report.analysis import Point

COLOURS = {"SFT": charts.BLUE, "SFT + DPO": charts.ORANGE}
ONE = [Point("short", 0.5, 0.4, 0.6, 10), Point("long", 1.0, math.nan, math.nan, 1)]
TWO = [Point("short", 0.75, 0.7, 0.8, 10), Point("long", 0.25, 0.2, 0.3, 10)]


def told(svg: str) -> list[str]:
    """What the marks of a chart say of themselves."""
    elements = ElementTree.fromstring(svg).iter()
    marks = [e for e in elements if e.get("aria-roledescription") in ("point", "rule mark")]
    return [mark.attrib["aria-label"] for mark in marks]


def words(svg: str) -> list[str]:
    return [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text") and e.text]


def test_points_say_their_values_and_intervals() -> None:
    spec = charts.points(
        {"SFT": ONE, "SFT + DPO": TWO}, "length", "share", COLOURS, level=(0.5, "chance")
    )
    drawn = charts.svg(spec)
    assert told(drawn) == [
        "SFT, short: 0.500 (95% interval 0.400 to 0.600, 10 pairs)",
        "SFT, long: 1.000 (no interval, 1 pairs)",
        "SFT + DPO, short: 0.750 (95% interval 0.700 to 0.800, 10 pairs)",
        "SFT + DPO, long: 0.250 (95% interval 0.200 to 0.300, 10 pairs)",
        "chance: 0.5000",
    ]
    # Labels keep their order, and both series are in the key.
    found = words(drawn)
    assert [word for word in found if word in ("short", "long")] == ["short", "long"]
    assert {"length", "share", "SFT", "SFT + DPO"} <= set(found)


def test_points_by_number_have_no_label_axis() -> None:
    points = [Point(0.5, 0.5, 0.4, 0.6, 10), Point(0.75, 0.8, 0.7, 0.9, 10)]
    drawn = charts.svg(charts.points({"SFT": points}, "sure", "right", COLOURS, diagonal=True))
    assert told(drawn) == [
        "SFT, 0.5: 0.500 (95% interval 0.400 to 0.600, 10 pairs)",
        "SFT, 0.75: 0.800 (95% interval 0.700 to 0.900, 10 pairs)",
    ]
    assert words(drawn)[:7] == ["0.50", "0.55", "0.60", "0.65", "0.70", "0.75", "sure"]
    # A single series needs no key.
    assert "SFT" not in words(drawn)


@pytest.mark.parametrize(
    ("last", "ticks"), [(3, ["0", "1", "2", "3"]), (1000, ["0", "200", "400", "600"])]
)
def test_lines_have_whole_numbers_below_them(last: int, ticks: list[str]) -> None:
    curve = [(float(x), x / last) for x in range(last + 1)]
    drawn = charts.svg(charts.lines({"SFT": curve}, "epoch", "loss", COLOURS))
    assert words(drawn)[: len(ticks)] == ticks
    assert told(drawn) == []


def test_marked_lines_say_their_values() -> None:
    curves = {"SFT": [(0.0, 0.5), (1.0, 0.625)], "SFT + DPO": []}
    spec = charts.lines(curves, "epoch", "loss", COLOURS, level=(0.25, "baseline"), marks=True)
    assert told(charts.svg(spec)) == [
        "SFT, epoch 0: 0.5000",
        "SFT, epoch 1: 0.6250",
        "baseline: 0.2500",
    ]


def test_distributions_stand_below_each_other() -> None:
    rows = [{"from": -1.0, "to": 0.0, "share": 0.25}, {"from": 0.0, "to": 1.0, "share": 0.75}]
    drawn = charts.svg(charts.distribution({"SFT": rows, "SFT + DPO": rows}, "margin", COLOURS))
    titles = ("SFT", "SFT + DPO", "margin")
    assert [w for w in words(drawn) if w in titles] == ["SFT", "margin", "SFT + DPO"]
    assert {"0%", "80%", "share"} <= set(words(drawn))
    assert drawn.count(f'fill="{charts.BLUE}"') == drawn.count(f'fill="{charts.ORANGE}"') == 2


def test_images_stand_on_white_and_charts_on_what_is_there() -> None:
    spec = charts.points({"SFT": ONE}, "length", "share", COLOURS)
    image, chart = charts.image(charts.beside(spec, spec)), charts.svg(spec)
    assert 'fill="white"' in image
    assert "currentColor" not in image
    assert 'fill="white"' not in chart
    assert "currentColor" in chart
    assert len(told(image)) == 2 * len(told(chart))
    for drawn in (image, chart):
        assert "<script" not in drawn
        assert drawn.count("http") == drawn.count("http://www.w3.org/")
    assert charts.svg(spec) == chart
