"""Look through DVC's cache for files that storage has damaged, and remove them.

DVC trusts its cache: a damaged file would be handed back as a result. What is removed here, and its
damaged copies in the workspace, the next `dvc repro` makes again, or `dvc pull` brings.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from preference.core.files import remove
from preference.core.progress import bar

LOCK = Path("dvc.lock")


def check(cache: Path, workspace: Path) -> list[str]:
    """Hash every file of a cache; remove those that are not what their name says.

    Args:
        cache: DVC's directory of files by MD5.
        workspace: where dvc.lock and its outputs stand.

    Returns:
        What was removed, for people.
    """
    files = sorted(cache.glob("[0-9a-f][0-9a-f]/*"))
    damaged = set()
    with bar("cache", len(files), "files") as progress:
        for file in files:
            if _md5(file) != file.parent.name + file.name.removesuffix(".dir"):
                damaged.add(file.parent.name + file.name)
            progress.update()
    removed = []
    for path, md5 in _outputs(workspace, cache):
        if md5 in damaged and path.exists() and _md5(path) != md5:
            remove(path)
            removed.append(str(path))
    for name in sorted(damaged):
        file = cache / name[:2] / name[2:]
        remove(file)
        removed.append(str(file))
    return removed


def _outputs(workspace: Path, cache: Path) -> Iterator[tuple[Path, str]]:
    """Every file that the pipeline has written, with the MD5 that it should have."""
    stages = YAML(typ="safe", pure=True).load(workspace / LOCK)["stages"]
    for output in (out for stage in stages.values() for out in stage.get("outs", [])):
        path, md5 = workspace / output["path"], output["md5"]
        if not md5.endswith(".dir"):
            yield path, md5
            continue
        listing = cache / md5[:2] / md5[2:]
        if listing.exists() and _md5(listing) == md5.removesuffix(".dir"):
            for entry in json.loads(listing.read_text()):
                yield path / entry["relpath"], entry["md5"]


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main() -> None:
    from dvc.repo import Repo

    # `files/md5` is where DVC's cache, wherever it is configured, has them.
    cache = Path(Repo().cache.local_cache_dir, "files", "md5")
    removed = check(cache, Path())
    for name in removed:
        print(f"damaged, removed: {name}")
    print("run dvc repro" if removed else f"{cache}: nothing is damaged")


if __name__ == "__main__":
    main()
