"""Runs of the pipeline with other params, as DVC experiments in copies of the project.

`dvc exp run` puts uncommitted changes aside and back, with or without `--temp`; killed meanwhile,
it leaves another HEAD and other params. A copy has nothing of the user's to lose, and a training
that was killed in it goes on from its checkpoint. It begins with what its experiment came to
before: DVC's run cache would not tell, as it leaves out stages whose outputs persist.
"""

import json
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preference.core import files
from preference.core.errors import InputError
from tools.sweep.follow import Log, Told, follow

COPIES = Path(".dvc/tmp/sweep")  # where neither git nor DVC looks
KEPT = ".checkpoints"
LOCK = "dvc.lock"
IDENTITY = {"user.name": "experiment", "user.email": "experiment@localhost"}  # where git has none

Stages = dict[str, dict[str, Any]]  # of a lock file, by name


@contextmanager
def alone() -> Iterator[None]:
    """Refuse to work on the same copies twice at once."""
    COPIES.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(COPIES.with_suffix(".lock"), blocking=False):
            yield
    except Timeout:
        raise InputError(
            "a sweep is already at work in this directory; wait until it is done, or stop it"
        ) from None


def require_repository() -> None:
    """Make sure that there is something that experiments can belong to.

    Raises:
        InputError: there is no commit, or the project is only a part of its repository.
    """
    try:
        git("rev-parse", "--verify", "HEAD^{commit}")
        within = git("rev-parse", "--show-prefix").strip()
    except InputError as error:
        raise InputError(
            f"experiments need a git repository with a commit ({error}); clone the project, or git "
            "init and commit"
        ) from None
    if within:
        raise InputError(f"experiments need a git repository of their own; this is {within} of one")


def stages() -> int:
    """How many stages the pipeline has."""
    try:
        return len(YAML(typ="safe", pure=True).load(Path("dvc.yaml"))["stages"])
    except OSError as error:
        raise InputError(
            f"dvc.yaml: cannot be read ({error}); run from the project's root"
        ) from None


def git(*arguments: str, directory: Path | None = None) -> str:
    """What git answers.

    Raises:
        InputError: it refused, or there is none.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise InputError(f"git {arguments[0]}: {said}") from None
    return done.stdout


def copy(name: str, settings: Collection[str]) -> Path:
    """Copy the project, with the results that it has, for an experiment.

    The copy has what git tracks, as it stands in the working directory, and what `dvc.lock` names
    and git does not know yet. It shares DVC's cache.

    Args:
        settings: the params that the experiment sets, as dotted keys.
    """
    place, kept = COPIES / name, COPIES / f"{name}{KEPT}"
    if (place / KEPT).exists():
        files.remove(kept)
        (place / KEPT).rename(kept)
    files.remove(place)
    COPIES.mkdir(parents=True, exist_ok=True)
    _clone(place)
    present = read_lock(Path(LOCK).read_text(encoding="utf-8")) if Path(LOCK).exists() else {}
    named = {path for s in present.values() for kind in ("deps", "outs") for path in paths(s, kind)}
    listed = git("ls-files", "-z")
    listed += git("ls-files", "-z", "--others", "--exclude-standard", "--", LOCK, *sorted(named))
    for file in filter(None, listed.split("\0")):
        if Path(file).is_file():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place / file, follow_symlinks=False)
    _share_cache(place)
    _begin_with_earlier(place, name, present, settings)
    if kept.exists():
        kept.rename(place / KEPT)
    return place


def _clone(place: Path) -> None:
    """A git repository at the same commit, without files."""
    identity = [
        part
        for key, own in IDENTITY.items()
        for part in ("-c", f"{key}={git('config', '--default', own, '--get', key).strip()}")
    ]
    git("clone", "--quiet", "--shared", "--no-checkout", *identity, ".", str(place))
    git("reset", "--quiet", directory=place)


def _share_cache(place: Path) -> None:
    from dvc.config import Config
    from dvc.repo import Repo

    if Path(".dvc/config.local").exists():
        shutil.copy2(".dvc/config.local", place / ".dvc")
    with Config(dvc_dir=str(place / ".dvc")).edit("local") as config:
        config.setdefault("cache", {})["dir"] = Repo().cache.local_cache_dir
        # What DVC remembers of files goes with the copy.
        config.setdefault("core", {})["site_cache_dir"] = str(place.absolute() / ".dvc/tmp")


def _begin_with_earlier(place: Path, name: str, present: Stages, settings: Collection[str]) -> None:
    """Put results of the newest experiment of this name where those with other params are.

    DVC compares them with params, code and inputs, and runs again what no longer fits.
    """
    from dvc.utils.serialize import dump_yaml

    newest = ["--sort=-committerdate", "--count=1", "--format=%(objectname)"]
    commit = git("for-each-ref", *newest, f"refs/exps/*/*/{name}").strip()
    if not commit:
        return
    try:
        earlier = read_lock(git("show", f"{commit}:{LOCK}"))
    except (InputError, YAMLError):
        return
    taken = {name: earlier[name] for name in depending(present, settings) if name in earlier}
    # Of stages here: what else an experiment may name is not touched.
    outputs = [path for name in taken for path in paths(present[name], "outs")]
    if not outputs:
        return
    dump_yaml(str(place / LOCK), {"schema": "2.0", "stages": {**present, **taken}})
    for path in outputs:
        files.remove(place / path)
    # The others are in DVC's cache.
    in_git = git("ls-tree", "-r", "-z", "--name-only", commit, "--", *outputs).split("\0")
    if any(in_git):
        git("checkout", commit, "--", *filter(None, in_git), directory=place)
        git("reset", "--quiet", directory=place)


def read_lock(text: str) -> Stages:
    """The stages of a lock file."""
    return (YAML(typ="safe", pure=True).load(text) or {}).get("stages", {})


def paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    """The paths of a stage's `deps` or `outs`."""
    return [entry["path"] for entry in stage.get(kind, [])]


def depending(stages: Stages, keys: Collection[str]) -> set[str]:
    """The stages whose results depend on params: those that track one, and all that follow."""
    found = {name for name, stage in stages.items() if _tracks(stage, keys)}
    while True:
        outputs = [path for name in found for path in paths(stages[name], "outs")]
        more = found | {name for name, stage in stages.items() if _reads(stage, outputs)}
        if more == found:
            return found
        found = more


def _tracks(stage: Mapping[str, Any], keys: Collection[str]) -> bool:
    tracked = [name for names in stage.get("params", {}).values() for name in names]
    return any(f"{key}.".startswith(f"{name}.") for key in keys for name in tracked)


def _reads(stage: Mapping[str, Any], outputs: Collection[str]) -> bool:
    pairs = [(f"{dep}/", f"{out}/") for dep in paths(stage, "deps") for out in outputs]
    return any(dep.startswith(out) or out.startswith(dep) for dep, out in pairs)


def run(place: Path, name: str, settings: Mapping[str, str], told: Told) -> tuple[Log, str]:
    """Run an experiment in its copy, and bring it here in place of an earlier one of its name.

    A copy whose run fails stays, for the checkpoints that are in it.

    Returns:
        what DVC did, and the experiment's commit.

    Raises:
        Failed: a stage or DVC failed.
    """
    changes = [part for key, value in settings.items() for part in ("-S", f"{key}={value}")]
    log = follow(["exp", "run", "--name", name, *changes], place, told)
    commit = git("rev-parse", "HEAD", directory=place).strip()
    reference = f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
    git("fetch", "--quiet", "--no-tags", str(place), f"+{reference}:{reference}")
    files.remove(place)
    return log, git("rev-parse", reference).strip()


def metrics(file: str, commit: str | None) -> dict[str, Any]:
    """A metrics file of an experiment, or of the working directory."""
    text = git("show", f"{commit}:{file}") if commit else Path(file).read_text(encoding="utf-8")
    return json.loads(text)
