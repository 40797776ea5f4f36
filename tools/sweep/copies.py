"""Runs of the pipeline with other params, as DVC experiments in copies of the project.

`dvc exp run` puts uncommitted changes aside and back, with or without `--temp`; killed meanwhile,
it leaves another HEAD and other params. A copy has nothing of the user's to lose, and a training
that was killed in it goes on from its checkpoint. A run begins with what its experiment came to
before: DVC's run cache would not tell, as it leaves out stages whose outputs persist.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.core.errors import InputError
from preference.core.files import remove
from tools.git import git
from tools.sweep.follow import LOCK, Outcome, Place, Told, follow, stages

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

COPIES = Path(".dvc/tmp/sweep")  # where neither git nor DVC looks
KEPT = ".checkpoints"
IDENTITY = {"user.name": "sweep", "user.email": "sweep@localhost"}  # where git has none


def require_repository() -> None:
    """Make sure that there is something that experiments can belong to.

    Raises:
        InputError: there is no commit, or the project is only a part of its repository.
    """
    git("log", "-1")
    if within := git("rev-parse", "--show-prefix").strip():
        raise InputError(f"experiments need a git repository of their own; this is {within} of one")


def copy(repo: "Repo", name: str = "0") -> Path:
    """Copy the project, with the results that it has; the copy shares DVC's cache.

    It has what git tracks, as it stands in the working directory, and what `dvc.yaml` names and git
    does not know yet. Of an earlier copy of that name the checkpoints stay.
    """
    from configobj import ConfigObj

    place = COPIES / name
    for old in set(place.glob("*")) - {place / KEPT}:
        remove(old)
    git("clone", "--quiet", "--shared", "--bare", ".", str(place / ".git"))
    known = {key: git("config", "--default", own, key).strip() for key, own in IDENTITY.items()}
    for key, value in {**known, "core.bare": "false"}.items():
        git("config", key, value, directory=place)
    git("reset", "--quiet", directory=place)
    named = {entry.def_path for stage in repo.index.stages for entry in (*stage.deps, *stage.outs)}
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", str(LOCK), *named)
    for file in map(Path, filter(None, (git("ls-files", "-z") + new).split("\0"))):
        if file.is_file():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place / file, follow_symlinks=False)
    # DVC itself writes no settings beyond ASCII, which paths may be.
    config = ConfigObj(".dvc/config.local", encoding="utf-8")
    config.setdefault("cache", {})["dir"] = repo.cache.local_cache_dir
    # What DVC remembers of files goes with the copy.
    config.setdefault("core", {})["site_cache_dir"] = str(place.absolute() / ".dvc/tmp")
    with (place / ".dvc/config.local").open("wb") as local:
        config.write(local)
    return place


def run(repo: "Repo", name: str, settings: Mapping[str, Any], told: Told, place: Place) -> Outcome:
    """Run an experiment in a copy, and bring it here in place of an earlier one of its name.

    Args:
        settings: the params that it sets, by dotted key.
    """
    begin(place.directory, name, depending(repo, settings))
    changes = [f"--set-param={change}" for change in overrides(settings)]
    outcome = follow(["exp", "run", "--name", name, *changes], told, place)
    if not outcome.error:
        commit = git("rev-parse", "HEAD", directory=place.directory).strip()
        reference = f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
        git("fetch", "--quiet", "--no-tags", str(place.directory), f"+{reference}:{reference}")
    return outcome


def overrides(settings: Mapping[str, Any]) -> Iterator[str]:
    """Params as `dvc exp run` takes them, with the groups among them in place of what is there."""
    for key, value in settings.items():
        if isinstance(value, dict):
            # DVC would only add to a group, and knows no quotes around keys. (The key itself has no
            # comment in params.yaml: where a group becomes empty, DVC breaks the file with one.)
            yield f"~{key}"
            parts = ", ".join(f"{name}: {json.dumps(part)}" for name, part in value.items())
            yield f"+{key}={{{parts}}}"
        else:
            yield f"{key}={json.dumps(value)}"


def begin(copy: Path, name: str, own: "Collection[Stage]") -> None:
    """Give a copy what the newest experiment of this name has of its own stages' results.

    DVC compares them with params, code and inputs, and runs again what no longer fits.
    """
    from dvc.utils.serialize import dump_yaml

    newest = ["--sort=-committerdate", "--count=1", "--format=%(objectname)"]
    commit = git("for-each-ref", *newest, f"refs/exps/*/*/{name}").strip()
    if not commit:
        return
    # The other outputs are in DVC's cache.
    in_git = [out.def_path for stage in own for out in stage.outs if not out.use_cache]
    for file in (str(LOCK), *in_git):
        remove(copy / file)
        # Somebody else's experiment may lack it.
        with suppress(InputError):
            git("restore", "--source", commit, "--", file, directory=copy)
    earlier = stages(copy / LOCK)
    taken = {stage.name: earlier[stage.name] for stage in own if stage.name in earlier}
    dump_yaml(str(copy / LOCK), {"schema": "2.0", "stages": {**stages(LOCK), **taken}})


def depending(repo: "Repo", params: Collection[str]) -> "set[Stage]":
    """The stages whose results depend on params: those that track one, and all that follow."""
    from networkx import ancestors

    # Its arrows lead from a stage to those that it reads from.
    graph = repo.index.graph
    tracked = {(s, name) for s in graph for group in s.params for name in group.params}
    first = {s for s, name in tracked for p in params if f"{p}.".startswith(f"{name}.")}
    return first.union(*(ancestors(graph, stage) for stage in first))
