"""The charts: what is drawn says its values, can be read, and needs nothing from outside."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browsing import opened
from playwright.sync_api import Browser
from report_cases import dialogues, write_curves, write_page

from preference.report import charts
from preference.report.analysis import Point
from preference.report.axes import Axis, share

COLOURS = {"SFT": charts.BLUE, "SFT + DPO": charts.ORANGE}
LENGTH = Axis("length")
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
        {"SFT": ONE, "SFT + DPO": TWO}, LENGTH, share("share"), COLOURS, level=(0.5, "chance")
    )
    drawn = charts.svg(spec)
    assert told(drawn) == [
        "chance: 0.5000",
        "SFT, short: 0.500 (95% interval 0.400 to 0.600, 10 pairs)",
        "SFT, long: 1.000 (no interval, 1 pairs)",
        "SFT + DPO, short: 0.750 (95% interval 0.700 to 0.800, 10 pairs)",
        "SFT + DPO, long: 0.250 (95% interval 0.200 to 0.300, 10 pairs)",
    ]
    # Labels keep their order, and both series are in the key.
    found = words(drawn)
    assert [word for word in found if word in ("short", "long")] == ["short", "long"]
    assert {"length", "share", "SFT", "SFT + DPO"} <= set(found)


def test_points_by_number_have_no_label_axis() -> None:
    points = [Point(0.5, 0.5, 0.4, 0.6, 10), Point(0.75, 0.8, 0.7, 0.9, 10)]
    axes = Axis("sure"), Axis("right")
    drawn = charts.svg(charts.points({"SFT": points}, *axes, COLOURS, diagonal=True))
    assert told(drawn) == [
        "SFT, 0.5: 0.500 (95% interval 0.400 to 0.600, 10 pairs)",
        "SFT, 0.75: 0.800 (95% interval 0.700 to 0.900, 10 pairs)",
    ]
    assert words(drawn)[:7] == ["0.50", "0.55", "0.60", "0.65", "0.70", "0.75", "sure"]
    # A single series needs no key.
    assert "SFT" not in words(drawn)


def test_axes_hold_intervals_and_do_not_fit_to_noise() -> None:
    points = [Point("a", 0.501, 0.497, 0.505, 10), Point("b", 0.502, 0.49, 0.51, 10)]
    spec = charts.points({"SFT": points}, LENGTH, share("pair_acc"), COLOURS)
    assert {"0.40", "0.60"} <= set(words(charts.svg(spec)))
    assert scales(spec) == [pytest.approx([0.4, 0.6])] * 2
    # The level is in sight, too, and changes nothing else.
    near = charts.points({"SFT": points}, LENGTH, share("a"), COLOURS, level=(0.5, "chance"))
    drawn = charts.svg(near)
    assert [w for w in words(drawn) if w[:2] == "0."] == ["0.40", "0.45", "0.50", "0.55", "0.60"]
    assert drawn.count("role-axis-grid") == charts.svg(spec).count("role-axis-grid") == 1
    far = charts.points({"SFT": points}, LENGTH, share("a"), COLOURS, level=(0.1, "baseline"))
    assert scales(far) == [pytest.approx([0.1, 0.51])] * 3
    margins = charts.points({"SFT": ONE}, LENGTH, Axis("margin", (0.0,)), COLOURS)
    assert scales(margins) == [[0.0, 1.0]] * 2


def scales(spec: charts.Spec) -> list[Any]:
    """From where to where the y axes of the estimates go."""
    axes = [layer["encoding"]["y"] for layer in spec["layer"]]
    return [axis["scale"]["domain"] for axis in axes if "scale" in axis]


def test_colours_are_apart_from_white_and_from_the_dark_page() -> None:
    colours = charts.GREY, charts.BLUE, charts.ORANGE, charts.GREEN, charts.PURPLE
    assert len(set(colours)) == 5
    for colour in colours:
        for back in ("#ffffff", "#15171b"):
            assert contrast(colour, back) > 3


def contrast(one: str, other: str) -> float:
    """Between two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_charts_have_a_name_and_say_their_values() -> None:
    spec = charts.points({"SFT": ONE}, LENGTH, share("pair_acc"), COLOURS, level=(0.5, "<chance>"))
    drawn = ElementTree.fromstring(charts.svg(spec, "By length"))
    assert (drawn.get("role"), drawn.get("aria-label")) == (
        "img",
        "By length. pair_acc by length, with 95% intervals: SFT; dashed: <chance>",
    )
    assert drawn[0].tag.endswith("desc")
    assert drawn[0].text == "; ".join(told(charts.svg(spec)))
    unsure = charts.points({"SFT": ONE[1:]}, Axis(""), Axis("margin"), COLOURS)
    name = ElementTree.fromstring(charts.image(charts.beside(spec, unsure))).get("aria-label")
    assert name is not None
    assert name.endswith("; margin by model, no intervals: SFT")


@pytest.mark.parametrize(
    ("last", "ticks"), [(3, ["0", "1", "2", "3"]), (1000, ["0", "200", "400", "600"])]
)
def test_lines_have_whole_numbers_below_them(last: int, ticks: list[str]) -> None:
    curve = [(float(x), x / last) for x in range(last + 1)]
    drawn = charts.svg(charts.lines({"SFT": curve}, "epoch", "loss", COLOURS))
    assert words(drawn)[: len(ticks)] == ticks
    assert told(drawn) == []


def test_joined_points_say_their_values_and_intervals() -> None:
    first = [Point(0.0, 0.5, 0.4, 0.6, 20), Point(1.0, 0.625, 0.5, 0.75, 20)]
    curves = {"SFT": first, "SFT + DPO": [Point(1.0, 0.625, math.nan, math.nan, None)]}
    axes = Axis("epoch"), share("pair_acc")
    spec = charts.points(curves, *axes, COLOURS, level=(0.25, "baseline"), joined=True)
    drawn = charts.svg(spec)
    assert told(drawn) == [
        "baseline: 0.2500",
        "SFT, epoch 0: 0.500 (95% interval 0.400 to 0.600, 20 pairs)",
        "SFT, epoch 1: 0.625 (95% interval 0.500 to 0.750, 20 pairs)",
        "SFT + DPO, epoch 1: 0.625 (no interval)",
    ]
    assert words(drawn)[:2] == ["0", "1"]
    assert scales(spec) == [[0.25, 0.75]] * 4


def test_distributions_stand_below_each_other() -> None:
    rows = [{"from": -1.0, "to": 0.0, "share": 0.25}, {"from": 0.0, "to": 1.0, "share": 0.75}]
    drawn = charts.svg(charts.distribution({"SFT": rows, "SFT + DPO": rows}, "margin", COLOURS))
    titles = ("SFT", "SFT + DPO", "margin")
    assert [w for w in words(drawn) if w in titles] == ["SFT", "margin", "SFT + DPO"]
    assert {"0%", "80%", "share"} <= set(words(drawn))
    assert drawn.count(f'fill="{charts.BLUE}"') == drawn.count(f'fill="{charts.ORANGE}"') == 2


def test_images_stand_on_white_and_charts_on_what_is_there() -> None:
    spec = charts.points({"SFT": ONE}, LENGTH, share("share"), COLOURS)
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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every chart."""
    place = tmp_path_factory.mktemp("report")
    write_curves(place)
    return write_page(place, dialogues(1000))


# Of each chart: its name, what of its texts is cut or under another, what it says of its points.
LOOK = """
(font) => [...document.querySelectorAll("figure svg")].map((svg) => {
  if (font) for (const text of svg.querySelectorAll("text")) text.style.fontFamily = font;
  const edge = svg.getBoundingClientRect();
  const boxes = (kind) => [...svg.querySelectorAll(`.${kind} text`)]
    .filter((text) => text.textContent && getComputedStyle(text).opacity !== "0")
    .map((text) => ({
      text: text.textContent, turned: /rotate\\(-?[1-8]/.test(text.getAttribute("transform")),
      box: text.getBoundingClientRect(),
    }));
  const kinds = ["role-axis-title", "role-axis-label", "role-legend-label", "role-title"];
  const [titles, labels, ...rest] = kinds.map(boxes);
  const meet = (a, b) => a.box.left < b.box.right && b.box.left < a.box.right
    && a.box.top < b.box.bottom && b.box.top < a.box.bottom;
  const all = [...titles, ...labels, ...rest.flat()];
  const apart = (some, others) => some.flatMap((a) => others.filter((b) => a !== b && meet(a, b))
    .map((b) => `${a.text} / ${b.text}`));
  const straight = labels.filter((label) => !label.turned);
  const points = [...svg.querySelectorAll("[aria-roledescription=point]")];
  return {
    name: svg.getAttribute("aria-label"), role: svg.getAttribute("role"),
    section: svg.closest("section").id, labels: labels.length,
    over: [...apart(titles, all), ...apart(straight, straight)],
    cut: all.filter(({ box }) => box.left < edge.left - 1 || box.right > edge.right + 1
      || box.top < edge.top - 1 || box.bottom > edge.bottom + 1).map(({ text }) => text),
    points: points.map((point) => point.getAttribute("aria-label")),
    fills: points.map((point) => point.getAttribute("fill")),
    bars: svg.querySelectorAll(".mark-rule line").length,
    letters: 12 * edge.width / svg.viewBox.baseVal.width,
    back: getComputedStyle(document.documentElement).backgroundColor,
  };
})
"""


@pytest.mark.parametrize("font", [None, "DejaVu Sans", "Liberation Sans"])
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")]
)
def test_every_chart_can_be_read(
    width: int, scheme: Any, font: str | None, browser: Browser, report: Path
) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, report, **options) as found:
        seen = found.evaluate(LOOK, font)
    assert len(seen) == 13
    assert len({chart["name"] for chart in seen}) == 13
    for chart in seen:
        assert (chart["role"], chart["cut"], chart["over"]) == ("img", [], []), chart["name"]
        assert chart["labels"] > 3
        assert chart["letters"] > 10
        assert " by " in chart["name"].partition(". ")[2]
        red, green, blue = (int(part) for part in chart["back"][4:-1].split(","))
        for fill in chart["fills"]:
            assert contrast(fill, f"#{red:02x}{green:02x}{blue:02x}") > 3
        if chart["section"] not in ("training", "margins"):
            assert chart["points"]
            assert chart["bars"] >= len(chart["points"])
            assert all("95% interval" in said for said in chart["points"])
            assert "with 95% intervals" in chart["name"]
