"""A copy of the project in a directory of its own, small enough to run in a test."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = Path("recipes/demo-dpo.yaml")

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
SMALL: dict[str, Any] = {
    "data.train_pairs": 60,
    "data.eval_pairs": 40,
    "data.max_length": 128,
    "data.demo.train_rows": 80,
    "data.demo.test_rows": 50,
    "model.scratch.n_layer": 1,
    "model.scratch.n_head": 2,
    "model.scratch.n_embd": 32,
    "model.scratch.n_positions": 160,
    "model.scratch.vocab_size": 400,
    "sft.epochs": 1,
    "train.epochs": 2,
    "samples.kl_prompts": 6,
}


# As DVC runs them: data before model, each as soon as what it reads is there.
STAGE_NAMES = [
    "fetch-data",
    "fetch-model",
    "prepare",
    "baseline-eval",
    "sft-warmup",
    "reference",
    "sft-eval",
    "train",
    "final-eval",
    "samples",
    "report",
]


def copy(to: Path) -> Path:
    """Copy what git tracks, as the working tree has it, into a git repository of its own.

    Its params are the default's, whatever the project's are.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    shutil.copyfile(ROOT / DEFAULT, to / "params.yaml")
    (to / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(to / "results", ignore_errors=True)
    git(to, "init", "-q")
    git(to, "config", "user.name", "test")
    git(to, "config", "user.email", "test@example.org")
    git(to, "add", "--all")
    git(to, "commit", "-q", "-m", "copy")
    return to


def git(project: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout


def own(root: Path) -> str:
    """Why results in a project are its user's own, and not those that its README shows; else "".

    With REQUIRE_DEFAULT in the environment, as where a change is to land, none are.
    """
    if os.environ.get("REQUIRE_DEFAULT"):
        return ""
    if (root / "params.yaml").read_bytes() != (root / DEFAULT).read_bytes():
        return f"params.yaml is your own: it is not {DEFAULT}"
    status = ["git", "status", "--porcelain", "--", "dvc.lock", "results"]
    done = subprocess.run(status, cwd=root, capture_output=True, text=True, check=False)
    return "dvc.lock or results/ are your own: git has others" if done.stdout else ""


OWN = own(ROOT)
# For tests of what is committed: params, dvc.lock and results of the default, and what shows them.
of_the_default = pytest.mark.skipif(bool(OWN), reason=OWN)


def set_params(project: Path, changes: dict[str, Any]) -> None:
    """Change dotted keys in the project's params.yaml."""
    yaml = YAML()
    values = yaml.load(project / "params.yaml")
    for key, value in changes.items():
        *groups, last = key.split(".")
        section = values
        for group in groups:
            section = section[group]
        section[last] = value
    yaml.dump(values, project / "params.yaml")


def run(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the project would, with this environment's programs first."""
    programs = Path(sys.executable).parent
    settings = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=settings, check=False
    )


def repro(project: Path, *args: str) -> list[str]:
    """`dvc repro`; the stages that it ran."""
    done = run(project, "dvc", "repro", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '([^']+)'", done.stdout)
