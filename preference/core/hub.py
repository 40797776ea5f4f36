"""Files of a pinned commit on the Hub: fetched with patience, used only when they are whole."""

import fnmatch
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.hf_api import RepoFile

from preference.core.errors import first_line, is_full_disk
from preference.core.paths import leads_out

WAITS = (1, 4, 15)  # seconds between attempts; the client's own come on top
MAY_HEAL = (408, 429)

T = TypeVar("T")


class Unfetchable(Exception):
    """The Hub did not give what was asked for; the message says what went wrong."""


@cache
def fetch(name: str, commit: str, kind: str, patterns: tuple[str, ...] = ("*",)) -> Path:
    """The directory of a repository's files at a commit.

    What the client has fetched before, it does not fetch again. A listing comes first, so that a
    directory of which some files are missing, or are not what the Hub says, is never taken for
    whole: a client that does not reach the Hub hands out such directories.

    Args:
        kind: `model` or `dataset`.
        patterns: names of the files wanted.

    Raises:
        Unfetchable: no answer came in several attempts, the answer was an error that does not
            heal, or what came is not what the Hub's listing says.
    """
    listed = _patiently(lambda: _listing(name, commit, kind, patterns), name)

    def download() -> Path:
        return Path(
            snapshot_download(name, revision=commit, repo_type=kind, allow_patterns=list(patterns))
        )

    place = _patiently(download, name)
    wrong = _wrong(place, listed)
    if wrong:
        for file in wrong:
            _forget(place / file.path)
        logging.warning(
            "%s: %s did not arrive as the Hub has it, and is fetched again", name, wrong[0].path
        )
        place = _patiently(download, name)
        for file in _wrong(place, listed):
            found = _digest(place / file.path, file)
            _forget(place / file.path)
            raise Unfetchable(
                f"{file.path} is not what the Hub's listing says (its digest is {found}, expected "
                f"{_expected(file)}), twice"
            )
    return place


def _listing(name: str, commit: str, kind: str, patterns: Sequence[str]) -> list[RepoFile]:
    api = HfApi()
    info = api.repo_info(name, revision=commit, repo_type=kind)
    if info.sha != commit:
        raise Unfetchable(f"the Hub answered with commit {info.sha}")
    tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    for file in files:
        if leads_out(file.path):
            raise Unfetchable(f"the repository names a file outside of itself: {file.path!r}")
    return [file for file in files if any(fnmatch.fnmatch(file.path, p) for p in patterns)]


def _patiently(attempt: Callable[[], T], name: str) -> T:
    """The result of the first attempt that succeeds."""
    for wait in WAITS:
        try:
            return attempt()
        except Exception as error:
            # The client raises errors of several libraries.
            if not _may_heal(error):
                raise
            reason = first_line(_cause(error))
            logging.warning("%s: %s; tried again in %d s", name, reason, wait)
            time.sleep(wait)
    try:
        return attempt()
    except LocalEntryNotFoundError as error:
        if not _may_heal(error):
            raise
        raise Unfetchable(f"no answer in {len(WAITS) + 1} attempts: {_cause(error)}") from error


def _cause(error: BaseException) -> BaseException:
    """What the client met, where it says only that it has not found the file here either."""
    return (isinstance(error, LocalEntryNotFoundError) and error.__cause__) or error


def _may_heal(error: Exception) -> bool:
    """Whether the network or the Hub may do better another time; all else will be the same."""
    cause = _cause(error)
    if isinstance(cause, (FileMetadataError, OfflineModeIsEnabled)):
        return False
    if isinstance(cause, HfHubHTTPError):
        status = getattr(cause.response, "status_code", 500)
        return status >= 500 or status in MAY_HEAL
    if isinstance(cause, LocalEntryNotFoundError):
        # Without a cause: so the client says that it did not reach the Hub.
        return True
    if isinstance(cause, RuntimeError):
        # So the client's second way of downloading says everything.
        return not is_full_disk(cause)
    # A file that came short is an OSError without a number.
    broken = isinstance(cause, OSError) and cause.errno is None
    return broken or isinstance(cause, (HTTPError, ConnectionError, TimeoutError))


def _wrong(place: Path, listed: list[RepoFile]) -> list[RepoFile]:
    return [file for file in listed if _digest(place / file.path, file) != _expected(file)]


def _expected(file: RepoFile) -> str:
    return file.lfs.sha256 if file.lfs else file.blob_id


def _digest(path: Path, file: RepoFile) -> str:
    """As the Hub has it: SHA-256 of large files, git's own of the others."""
    if not path.exists():
        return "missing"
    if file.lfs:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    whole = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(whole), whole), usedforsecurity=False).hexdigest()


def _forget(path: Path) -> None:
    """Remove a file from the client's cache, where it is a link to its content."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
