"""The page of curves that needs no network."""

from pathlib import Path

import project
from playwright.sync_api import Browser

from tools import plots


def test_the_template_is_dvcs_with_all_inside() -> None:
    page = plots.template()
    assert "{plot_divs}" in page
    assert plots.SCRIPTS not in page
    assert "vegaEmbed" in page
    assert "<script src" not in page


def test_the_page_shows_every_curve_and_asks_for_nothing(another: Path, browser: Browser) -> None:
    done = project.run(another, "python", "-m", "tools.plots")
    assert done.returncode == 0, done.stdout + done.stderr
    file = another / "dvc_plots/index.html"
    assert "https://cdn" not in file.read_text(encoding="utf-8")
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length >= 5"
    )
    page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
