"""Names of files: those that params give, and those that come with a repository or inside of it."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

# Where DVC runs experiments with `--temp` or from its queue, and where `make sweep` runs them.
COPIES = ("exps", "sweep")


def project() -> Path:
    """This directory; in a copy of a project that experiments run in, the project itself."""
    here = Path.cwd()
    for place in here.parents:
        # A project that is a part of its repository is the same part of the copy.
        copies = [place / ".dvc" / "tmp" / name for name in COPIES]
        if any(copy == here or copy in here.parents for copy in copies):
            here = place
    return here


def located(name: str) -> Path:
    """A path or pattern of params or options, as it is to be opened from this directory.

    In a copy of the project a relative one is the copy's own where that has every file that the
    project has: so a change of what git tracks stays out of an experiment that waits for its turn.
    Otherwise, as for what lies outside of the project or is not in git, it is the project's. What
    begins with a dot, as git and editors keep it, does not count.
    """
    path, root = Path(name).expanduser(), project()
    if path.is_absolute() or root == Path.cwd():
        return path
    outside = Path(os.path.normpath(path)).parts[:1] == ("..",)
    if not outside and _files(root, path) <= _files(Path.cwd(), path):
        return path
    return root / path if (root / path).exists() else Path(glob.escape(str(root)), path)


def named(path: Path) -> Path:
    """What the project calls a file that was `located` in it from a copy."""
    root = project()
    inside = root != Path.cwd() and path.is_relative_to(root)
    return path.relative_to(root) if inside else path


def _files(base: Path, path: Path) -> set[Path]:
    """What a path or pattern stands for, and the files in its directories, relative to `base`."""
    exact = (base / path).exists()
    matches = [str(path)] if exact else glob.glob(str(path), root_dir=base, recursive=True)
    # A link that git has leads elsewhere in a copy, most often to nothing.
    tops = [base / match for match in matches if (base / match).exists()]
    return {top.relative_to(base) for top in tops} | {
        file.relative_to(base)
        for top in tops
        for file in top.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(top).parts)
    }


def leads_out(name: str) -> bool:
    """Whether a name means a file outside of the directory that it should be relative to.

    Absolute paths do, paths through a parent directory, and addresses of other hosts or inside of
    archives (`https://...`, `zip://...::...`).
    """
    kinds = PurePosixPath(name), PureWindowsPath(name)
    return (
        "://" in name
        or "::" in name
        or any(path.anchor or ".." in path.parts for path in kinds)
        or name.startswith("~")
    )


def texts(value: object) -> Iterator[str]:
    """Every text in a value of lists and mappings, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
