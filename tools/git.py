"""Git, asked by the tools."""

import subprocess
from pathlib import Path

from preference.core.errors import InputError


def git(*arguments: str, directory: Path | None = None) -> str:
    """What git answers.

    Raises:
        InputError: it refused, or there is none.
    """
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
            errors="surrogateescape",
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise InputError(
            f"git {arguments[0]}: {said}; the pipeline needs a git repository of its own: clone "
            "the project, or git init and commit"
        ) from None
    return done.stdout
