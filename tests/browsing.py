"""A page in a real browser."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

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
