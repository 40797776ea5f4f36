"""Hub ids are pinned to a commit."""

import re

from preference.core.errors import InputError

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def require_commit(name: str, revision: str | None, where: str, revision_key: str) -> str:
    """The commit to which a Hub id is pinned; a branch or nothing would change under the result.

    Args:
        where: what named the id, for the error message.
        revision_key: what should have pinned it.
    """
    if not HUB_ID.fullmatch(name):
        raise InputError(f"{where}: {name!r}: no such file or directory")
    if revision is None or not COMMIT.fullmatch(revision):
        raise InputError(
            f"{where}: {name!r} is no file or directory here, so it is taken as a Hub id, and "
            f"{revision_key} must pin it to a commit of 40 hex digits (it is {revision!r}); find "
            "the commit under 'Files and versions' on its Hub page. If you meant a path, check "
            "the spelling"
        )
    return revision
