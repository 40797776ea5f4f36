"""Files of a pinned commit on the Hub: fetched with patience, used only when they are whole."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

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

    What the client has fetched before, it does not fetch again. A directory of which some files
    are missing, or are not what the Hub says, is never taken for whole: a client that does not
    reach the Hub hands out such directories.

    Args:
        kind: `model` or `dataset`.
        patterns: names of the files wanted.

    Raises:
        Unfetchable: no attempt of several came through, or what came is not what the Hub's
            listing says.
    """
    attempt = partial(_attempt, name, commit, kind, patterns)
    place, wrong = _patiently(attempt, name)
    if wrong:
        logging.warning(
            "%s: %s did not arrive as the Hub has it, and is fetched again", name, min(wrong)
        )
        place, wrong = _patiently(attempt, name)
    for file, found in wrong.items():
        raise Unfetchable(f"{file} is not what the Hub's listing says ({found}), twice")
    return place


def _attempt(
    name: str, commit: str, kind: str, patterns: Sequence[str]
) -> tuple[Path, dict[str, str]]:
    """The directory, and what is wrong with which files; the client's cache lacks those after."""
    api, at = HfApi(), {"repo_id": name, "revision": commit, "repo_type": kind}
    # What the client leaves out when it verifies, it need not fetch.
    wanted = {"allow_patterns": list(patterns), "ignore_patterns": DEFAULT_IGNORE_PATTERNS}
    sha = api.repo_info(**at).sha
    if sha != commit:
        raise Unfetchable(f"the Hub answered with commit {sha}")
    for file in api.list_repo_files(**at):
        if leads_out(file):
            raise Unfetchable(f"the repository names a file outside of itself: {file!r}")
    place = Path(api.snapshot_download(**at, **wanted))
    found = api.verify_repo_checksums(**at, local_dir=place)
    wrong = dict.fromkeys(found.missing_paths, "it is missing")
    for file in found.mismatches:
        wrong[file["path"]] = f"its digest is {file['actual']}, expected {file['expected']}"
    wrong = {file: wrong[file] for file in filter_repo_objects(wrong, **wanted)}
    for file in wrong:
        # There it is a link to its content.
        (place / file).resolve().unlink(missing_ok=True)
        (place / file).unlink(missing_ok=True)
    return place, wrong


def _patiently(attempt: Callable[[], T], name: str, waits: Sequence[int] = WAITS) -> T:
    """The result of the first attempt that succeeds."""
    try:
        return attempt()
    except Exception as error:
        # Of some errors the client says only that it has not found the file here either.
        cause = (isinstance(error, LocalEntryNotFoundError) and error.__cause__) or error
        if not _may_heal(cause):
            raise
        if not waits:
            tried = f"{len(WAITS) + 1} attempts failed, the last with {first_line(cause)}"
            raise Unfetchable(tried) from error
        logging.warning("%s: %s; tried again in %d s", name, first_line(cause), waits[0])
    time.sleep(waits[0])
    return _patiently(attempt, name, waits[1:])


def _may_heal(error: BaseException) -> bool:
    """Whether the network or the Hub may do better another time; all else will be the same."""
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", 500)
        return status >= 500 or status in MAY_HEAL
    if isinstance(error, (FileMetadataError, OfflineModeIsEnabled)) or is_full_disk(error):
        return False
    # A file that came short is an OSError without a number; so is a Hub that was not reached.
    broken = isinstance(error, OSError) and error.errno is None
    # The client's second way of downloading says everything as a RuntimeError.
    return broken or isinstance(error, (HTTPError, ConnectionError, TimeoutError, RuntimeError))
