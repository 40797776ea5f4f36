"""The files of recipes/launch: read by their own parsers, and the script of Slurm run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import project
import pytest
from ruamel.yaml import YAML

LAUNCH = project.ROOT / "recipes/launch"
ARRAY = LAUNCH / "slurm-array.sbatch"


def test_slurms_script_is_one_for_a_shell() -> None:
    assert subprocess.run(["sh", "-n", str(ARRAY)], check=False).returncode == 0
    # Slurm reads no options below the first command.
    lines = ARRAY.read_text().splitlines()
    options = [place for place, line in enumerate(lines) if line.startswith("#SBATCH")]
    commands = [place for place, line in enumerate(lines) if not line.startswith("#")]
    assert options
    assert max(options) < min(commands)


def test_slurm_knows_its_options() -> None:
    if not shutil.which("sbatch"):
        pytest.skip("needs Slurm's client")
    done = subprocess.run(
        ["sbatch", "--test-only", str(ARRAY)], check=False, capture_output=True, text=True
    )
    # Options are read first, then a cluster is looked for.
    assert "unrecognized option" not in done.stderr
    assert "Invalid" not in done.stderr


@pytest.mark.long
def test_the_tasks_of_an_array_leave_nothing_to_run(another: Path) -> None:
    (another / ".venv").symlink_to(Path(sys.executable).parent.parent)
    project.git(another, "add", "--all")
    project.git(another, "commit", "-qm", "finished")
    for task in ("0", "1"):
        asked = ("sh", str(ARRAY), "--study", "seeds", "--seeds", "4")
        done = project.run(another, *asked, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2")
        assert done.returncode == 0, done.stderr
        assert f"part {task} of 2 is done" in done.stderr
    names = project.run(another, "dvc", "exp", "list", "--name-only").stdout.split()
    assert sorted(names) == ["sweep-seed-43", "sweep-seed-44", "sweep-seed-45"]
    assert not list(another.glob(".dvc/tmp/sweep/*"))
    done = project.run(
        another, "python", "-m", "tools.sweep.main", "--study", "seeds", "--seeds", "4"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": ran nothing; ") == 4
    assert "seeds of DPO: 42, 43, 44, 45." in done.stdout


SBATCH = """#!/bin/sh
# Runs at once what is to be queued, where the terminal's signals do not reach it.
for option; do
    case $option in
        --output=*) log=${option#*=} ;;
        --gpus=*) echo "$option" > asked ;;
    esac
    last=$option
done
setsid sh -c "echo \\$\\$ > pid; $last" > "$log" 2>&1 &
echo "17;cluster"
wait "$!"
"""
SCANCEL = """#!/bin/sh
[ "$1" = 17 ] && kill -TERM "$(cat pid)"
"""


def submitted(module: str, directory: Path) -> subprocess.Popen[str]:
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    programs = [str(directory), str(Path(sys.executable).parent), os.environ["PATH"]]
    python_path = os.pathsep.join([str(directory), str(project.ROOT)])
    return subprocess.Popen(
        ["sh", str(LAUNCH / "submit.sh"), "--gpus=8", "-m", module],
        cwd=directory,
        env={**os.environ, "PATH": os.pathsep.join(programs), "PYTHONPATH": python_path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("module", "code"), [("stages.prepare", 1), ("this", 0)])
def test_a_stage_as_a_job_that_is_waited_for(module: str, code: int, tmp_path: Path) -> None:
    job = submitted(module, tmp_path)
    shown, _ = job.communicate(timeout=60)
    assert job.returncode == code, shown
    assert (tmp_path / "asked").read_text() == "--gpus=8\n"
    assert ("error: params.yaml" if code else "Beautiful is better than ugly") in shown
    assert not list(tmp_path.glob(".job-*"))


STOPPABLE = """
import pathlib, signal, sys, time
def stop(*_):
    time.sleep(1)
    sys.exit("has kept its state")
signal.signal(signal.SIGTERM, stop)
pathlib.Path("began").touch()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)]
)
def test_a_job_is_cancelled_where_its_stage_is_stopped(
    send: Callable[[int, int], None], number: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C goes to all in the terminal; what the job says at last is shown."""
    (tmp_path / "stoppable.py").write_text(STOPPABLE)
    job = submitted("stoppable", tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send(job.pid, number)
    shown, _ = job.communicate(timeout=60)
    assert (job.returncode, shown) == (1, "has kept its state\n")
    assert not list(tmp_path.glob(".job-*"))


def test_a_gpu_for_each_command(tmp_path: Path) -> None:
    """Two have one each at the same time; the third waits until one is free."""
    script = """
        echo $CUDA_VISIBLE_DEVICES > took-$1
        while [ ! -e go-$1 ]; do sleep 0.05; done
    """
    environment = {**os.environ, "GPUS": "3 5", "TMPDIR": str(tmp_path)}
    asked = ["sh", str(LAUNCH / "free-gpu.sh"), "sh", "-c", script, "command"]
    at_work = [
        subprocess.Popen([*asked, name], cwd=tmp_path, env=environment) for name in ("a", "b", "c")
    ]

    def took(several: int) -> dict[str, str]:
        deadline = time.monotonic() + 60
        while (n := len(found := list(tmp_path.glob("took-*")))) < several or not all(
            file.read_text() for file in found
        ):
            assert time.monotonic() < deadline, n
            time.sleep(0.05)
        return {file.name.removeprefix("took-"): file.read_text().strip() for file in found}

    first = took(2)
    assert sorted(first.values()) == ["3", "5"]
    time.sleep(1.5)
    assert took(2) == first
    done = min(first)
    (tmp_path / f"go-{done}").touch()
    (third,) = set(took(3)) - set(first)
    assert took(3)[third] == first[done]
    for name in "abc":
        (tmp_path / f"go-{name}").touch()
    assert [process.wait(60) for process in at_work] == [0, 0, 0]


def test_skypilots_file_takes_part_in_the_study() -> None:
    asked = YAML(typ="safe").load(LAUNCH / "skypilot.yaml")
    assert {f"${name}" for name in asked["envs"]} == {"$STUDY", "$SEEDS", "$PART"}
    assert all(f'"${name}"' in asked["run"] for name in asked["envs"])
    for text in (asked["setup"], asked["run"]):
        assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.long
def test_skypilot_reads_its_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "sky")], check=True)
    python = str(tmp_path / "sky/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", "skypilot==0.14.1"], check=True)
    read = (
        "import json, sky, sys; t = sky.Task.from_yaml(sys.argv[1]); (r,) = t.resources;"
        "print(json.dumps([t.name, r.accelerators, r.use_spot, t.envs]))"
    )
    done = project.run(
        tmp_path, python, "-c", read, str(LAUNCH / "skypilot.yaml"), HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "preference", {"H100": 1}, True, {"STUDY": "seeds", "SEEDS": "9", "PART": "0/1"},
    ]  # fmt: skip
