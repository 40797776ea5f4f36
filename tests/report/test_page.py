"""The report in a real browser: whole, quick, and harmless whatever the data say."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import project
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report_cases import NAMES, dialogue, dialogues, examples_of, results_of
from scipy.special import log_ndtr

from preference.report import comparison, figures, markdown, page, results, verdict
from preference.report.findings import Finding, Weight
from preference.report.health import Health
from preference.report.verdict import Outcome
from preference.store.examples import Examples
from preference.store.texts import Text

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Without these a browser asks its maker's hosts for things at every start.
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKUP = (
    "<img src=x onerror=\"document.title='broken in'\"><script>alert(1)</script>{{ 7 * 7 }}"
    "</script>&amp;"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """The page, loaded; it must not have asked for anything but itself, nor complained."""
    context = browser.new_context(**options)
    found = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    found.on("request", lambda request: requests.append(request.url))
    found.on("console", lambda message: complaints.append(message.text))
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    found.goto(file.as_uri())
    found.wait_for_selector("html[data-ready=true]")
    yield found
    assert [url for url in requests if url != file.as_uri() and not url.startswith("data:")] == []
    assert complaints == []
    context.close()


def write(
    place: Path,
    texts: list[Text],
    outcome: Outcome | None = None,
    prepared: Examples | None = None,
    health: Health | None = None,
) -> Path:
    """The page of made-up models over these pairs."""
    shown = results_of(place, texts)
    metrics = {
        name: {f"{m}{end}": 0.5 for m in markdown.METRICS for end in ("", "_low", "_high")}
        for name in NAMES
    }
    compared = comparison.compare(shown.scores[NAMES[0]], shown.scores[NAMES[2]], normalize=True)
    file = place / "report.html"
    file.write_text(
        page.render(
            shown,
            figures.figures(shown),
            results.rows(metrics, {"SFT + DPO - baseline": compared}, 4),
            outcome or Outcome(verdict.NOTHING_PUBLISHED),
            health or Health("Learned", "", []),
            prepared or examples_of(texts),
            answers=[
                {
                    "question": MARKUP,
                    "prompt": MARKUP,
                    "texts": [(name, MARKUP) for name in NAMES],
                }
            ],
        )
    )
    return file


def test_the_defaults_report(browser: Browser, finished: Path) -> None:
    """As DVC made it: rows, charts, answers, pairs."""
    with opened(browser, finished / "results/report.html") as found:
        assert found.title() == "SFT + DPO against the baseline"
        table = (finished / "results/table.md").read_text()
        for row in found.query_selector_all("#results tbody tr"):
            cells = [cell.inner_text() for cell in row.query_selector_all("th, td")]
            assert f"| {' | '.join(cells)} |" in table
        assert verdict.NOTHING_PUBLISHED in found.inner_text("#verdict")
        said = found.inner_text(".health").split("\n")[0]
        assert table.startswith(f"**{said.replace('.', '.**', 1)}\n")
        assert found.locator("figure svg").count() >= 11
        assert found.locator("#answers details").count() == 8
        assert found.inner_text("#count") == "40 of 40 pairs"
        rows = pq.read_table(finished / "data/prepared/test.parquet")["row"].to_pylist()
        assert order(found) == rows[: len(order(found))]
        # A mark says what it is.
        mark = found.locator("figure [aria-roledescription=point]").first
        mark.scroll_into_view_if_needed()
        mark.hover(force=True)
        assert found.inner_text("#tip") == mark.get_attribute("aria-label")


def test_no_text_of_the_data_becomes_markup(browser: Browser, tmp_path: Path) -> None:
    texts = [dialogue(0, MARKUP, MARKUP, MARKUP + "2"), *dialogues(4)[1:]]
    rows = [["SFT", "margin", *["0.1"] * 4, "consistent", MARKUP]]
    outcome = Outcome(MARKUP, rows, MARKUP, MARKUP)
    health = Health(MARKUP, MARKUP, [Finding(Weight.DOUBT, MARKUP)])
    with opened(browser, write(tmp_path, texts, outcome, health=health)) as found:
        assert found.inner_text(".health").count(MARKUP) == 3
        assert found.locator("img").count() == 0
        assert found.inner_text("#verdict").count(MARKUP) == 4
        assert found.title() == "SFT + DPO against the baseline"
        assert MARKUP in found.inner_text("#pair")
        assert MARKUP in found.inner_text("#list")
        assert MARKUP in found.inner_text("#answers .prompt")
        assert "49" not in found.inner_text("#answers")


def counted(found: Page, shown: int, count: int = 1000) -> None:
    """Wait until so many of the pairs are listed."""
    expect(found.locator("#count")).to_have_text(f"{shown} of {count} pairs")


def order(found: Page) -> list[int]:
    """The data's row numbers that are in sight, from the top."""
    labels = found.locator("#list .row .numbers span:first-child").all_inner_texts()
    return [int(label.removeprefix("row ")) for label in labels]


def test_pairs_are_searched_filtered_and_sorted(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, write(tmp_path, dialogues(1000))) as found:
        assert order(found)[:3] == [0, 2, 4]
        found.fill("#search", "NUMBER 77")
        counted(found, 11)
        assert order(found) == [154, *range(1540, 1560, 2)]
        found.fill("#search", "")
        counted(found, 1000)
        shown = {}
        for name in ("lowest first", "highest first"):
            found.select_option("#sort", f"margin, {name}")
            texts = found.locator("#list .row .numbers span:nth-child(2)").all_inner_texts()
            shown[name] = [float(t.removeprefix("margin ").replace("\u2212", "-")) for t in texts]
        assert shown["lowest first"] == sorted(shown["lowest first"])
        assert shown["highest first"] == sorted(shown["highest first"], reverse=True)
        assert shown["lowest first"][0] < -1 < 1 < shown["highest first"][0]
        counts = {}
        for name in ("right after training", "wrong after training"):
            found.select_option("#filter", name)
            counts[name] = int(found.inner_text("#count").split()[0])
        assert sum(counts.values()) == 1000
        # Margins of the policy are normal with mean 0.4 and deviation 0.6 sqrt(2).
        expected = np.exp(log_ndtr(0.4 / (0.6 * 2**0.5)))
        assert counts["right after training"] / 1000 == pytest.approx(expected, abs=0.05)
        found.fill("#search", "no such words")
        counted(found, 0)
        assert "No pair fits" in found.inner_text("#pair")


def test_a_pair_is_shown_with_its_turns_and_its_own_responses(
    browser: Browser, tmp_path: Path
) -> None:
    """Of a ranking, whose second response is in two pairs, and of a prompt that nobody says."""
    turns = [("user", "Why?"), ("assistant", "Because."), ("user", "And then?")]
    texts = [
        Text(3, "Why? Because. And then?", turns, ["one", "two", "three"], [(2, 1), (1, 0)]),
        Text(5, "Once upon", [("", "Once upon")], ["a time", "a table"], [(0, 1)]),
    ]
    scores = results_of(tmp_path, texts).scores[NAMES[2]]
    with opened(browser, write(tmp_path, texts)) as found:
        assert order(found) == [3, 3, 5]
        assert found.locator("#list .words").all_inner_texts() == ["And then?"] * 2 + ["Once upon"]
        for place, (chosen, rejected) in enumerate([("three", "two"), ("two", "one")]):
            found.locator("#list .row").nth(place).click()
            said = found.locator("#pair .turn").all_inner_texts()
            assert said == ["User\nWhy?", "Assistant\nBecause.", "User\nAnd then?"]
            sides = scores.index.pairs[place]
            assert found.locator("#pair .responses > div").all_inner_texts() == [
                f"chosen, {scores.tokens[sides[0]]} tokens\n{chosen}",
                f"rejected, {scores.tokens[sides[1]]} tokens\n{rejected}",
            ]
            cells = found.locator("#pair tr").last.locator("td").all_inner_texts()
            means = (scores.logps / scores.tokens)[sides]
            shown = [float(cell.replace("\u2212", "-")) for cell in cells]
            assert shown == pytest.approx([*means, means[0] - means[1]], abs=0.0006)
        found.locator("#list .row").nth(2).click()
        assert found.locator("#pair .turn").all_inner_texts() == ["Once upon"]
        found.fill("#search", "BECAUSE")
        counted(found, 2, 3)


def test_pairs_that_fill_the_models_room_are_marked(browser: Browser, tmp_path: Path) -> None:
    texts = dialogues(3)
    prepared = examples_of(texts)
    # The rejected response of the second pair: with its prompt 8 tokens, as many as there may be.
    prepared.prompt_tokens[3] = 7
    with opened(browser, write(tmp_path, texts, prepared=prepared)) as found:
        assert "data.max_length" not in found.inner_text("#pair")
        found.select_option("#filter", "as long as max_length allows")
        counted(found, 1, 3)
        assert order(found) == [2]
        assert "as many tokens of it as data.max_length allows" in found.inner_text("#pair")


def test_the_keyboard_moves_through_the_pairs(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, write(tmp_path, dialogues(500))) as found:
        found.focus("#list")
        for key, row in (
            ("ArrowDown", 2),
            ("ArrowDown", 4),
            ("ArrowUp", 2),
            ("End", 998),
            ("Home", 0),
        ):
            found.keyboard.press(key)
            assert found.inner_text("#pair h3") == f"Row {row} of the test data"
            active = found.get_attribute("#list", "aria-activedescendant")
            assert found.get_attribute(f"#{active}", "aria-selected") == "true"


@pytest.mark.parametrize("count", [1000, 8552])
def test_thousands_of_pairs_stay_fluent(count: int, browser: Browser, tmp_path: Path) -> None:
    file = write(tmp_path, dialogues(count))
    began = time.perf_counter()
    with opened(browser, file) as found:
        seconds = {"open": time.perf_counter() - began}
        assert found.locator("#list .row").count() < 40
        acts: dict[str, Callable[[], object]] = {
            "search": lambda: found.fill("#search", f"number {count - 1} "),
            "all": lambda: found.fill("#search", ""),
            "sort": lambda: found.select_option("#sort", "margin, lowest first"),
        }
        for name, act in acts.items():
            began = time.perf_counter()
            act()
            counted(found, 1 if name == "search" else count, count)
            seconds[name] = time.perf_counter() - began
    print(count, seconds)
    assert max(seconds.values()) < 2, seconds


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_phone_and_screen_in_both_colours(
    width: int, scheme: Any, browser: Browser, finished: Path
) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, finished / "results/report.html", **options) as found:
        # Nothing but wide tables, which scroll by themselves, is wider than the screen.
        assert found.evaluate("document.documentElement.scrollWidth") <= width
        colours = found.evaluate(
            "(() => { const s = getComputedStyle(document.body);"
            " const l = (c) => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765;"
            " const root = getComputedStyle(document.documentElement);"
            " return [l(s.color), l(root.backgroundColor)] })()"
        )
        ink, back = colours
        assert (ink > 0.8 and back < 0.2) if scheme == "dark" else (ink < 0.2 and back > 0.8)


def test_two_runs_write_the_same_page(another: Path, finished: Path) -> None:
    done = project.run(another, "python", "-m", "stages.report")
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "chart.svg", "table.md", "card.md", "comparison.json"):
        assert (another / "results" / name).read_bytes() == (
            finished / "results" / name
        ).read_bytes()
