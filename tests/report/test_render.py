"""Templates: what comes from outside is text, and nothing is left out unseen."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from preference.report import render


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(render, "TEMPLATES", tmp_path)
    return tmp_path


def test_html_is_escaped_but_for_files_of_this_project(templates: Path) -> None:
    (templates / "one.html").write_text("<p>{{ text }}</p>{{ style }}\n")
    (templates / "some.css").write_text("a > b {}")
    found = render.fill("one.html", text="<b> & {{ 1 }}", style=render.verbatim("some.css"))
    assert found == "<p>&lt;b&gt; &amp; {{ 1 }}</p>a > b {}\n"


def test_markdown_is_as_given(templates: Path) -> None:
    (templates / "one.md").write_text("{% for x in found %}\n{{ x }}\n{% endfor %}\nEnd.\n")
    assert render.fill("one.md", found=["<b>", "a & b"]) == "<b>\na & b\nEnd.\n"


def test_a_value_that_is_missing_is_an_error(templates: Path) -> None:
    (templates / "one.md").write_text("{{ found }}")
    with pytest.raises(UndefinedError, match="'found' is undefined"):
        render.fill("one.md")
