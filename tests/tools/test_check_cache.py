"""Damaged files of a cache are found and removed, and nothing else."""

import hashlib
import json
from pathlib import Path

from tools import check_cache


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def cached(cache: Path, content: bytes, suffix: str = "") -> tuple[Path, str]:
    """A file of a cache under its digest."""
    digest = md5(content) + suffix
    place = cache / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place, digest


def test_what_is_damaged_goes_here_and_in_the_workspace(tmp_path: Path) -> None:
    cache, work = tmp_path / "cache", tmp_path / "work"
    (work / "models").mkdir(parents=True)
    good, good_digest = cached(cache, b"good")
    bad, bad_digest = cached(cache, b"bad")
    entries = [{"relpath": "good", "md5": good_digest}, {"relpath": "bad", "md5": bad_digest}]
    _, listing = cached(cache, json.dumps(entries).encode(), ".dir")
    outs = [{"path": "models", "md5": listing}, {"path": "alone", "md5": bad_digest}]
    (work / "dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    (work / "models" / "good").write_bytes(b"good")
    (work / "models" / "bad").write_bytes(b"b4d")
    # Whole here, though not in the cache.
    (work / "alone").write_bytes(b"bad")
    assert check_cache.check(cache, work) == []
    bad.write_bytes(b"b4d")
    removed = check_cache.check(cache, work)
    assert removed == [str(work / "models/bad"), str(bad)]
    assert good.exists()
    assert (work / "models/good").exists()
    assert (work / "alone").read_bytes() == b"bad"
    assert check_cache.check(cache, work) == []
