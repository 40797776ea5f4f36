"""Names that come from outside: which lead out of their directory, and where they are found."""

import pytest

from preference.core.paths import leads_out, texts


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret",
        "data/../../secret",
        "~/secret",
        "~someone/secret",
        "https://elsewhere.org/file",
        "zip://file::archive.zip",
        "C:\\secret",
        "C:secret",
        "..\\secret",
        "\\\\host\\share\\secret",
    ],
)
def test_these_lead_out(name: str) -> None:
    assert leads_out(name)


@pytest.mark.parametrize("name", ["file", "data/part-*.jsonl.gz", ".hidden", "a..b/~c", ""])
def test_these_stay_inside(name: str) -> None:
    assert not leads_out(name)


def test_texts_are_found_at_any_depth_and_keys_are_none() -> None:
    value = {"key": ["a", {"path": "b", "more": [["c"], None, 1]}], "last": "d"}
    assert list(texts(value)) == ["a", "b", "c", "d"]
    assert list(texts(None)) == []
