"""Drills on real processes and real DVC: nothing lost, nothing stale, nothing half written."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import drill
import project
import psutil
import pytest
from ruamel.yaml import YAML

KILLS = 5
LOSSES = "results/curves/train/steps/plots/metrics/loss.tsv"


def lock(place: Path) -> dict[str, dict[str, object]]:
    stages = YAML(typ="safe").load(place / "dvc.lock")["stages"]
    return {
        name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()
    }


@pytest.mark.long
def test_training_killed_at_random_moments_ends_as_if_let_be(another: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    project.set_params(another, drill.LONG)
    drill.drill(another, KILLS, random.Random(seed))


@pytest.mark.long
def test_two_clones_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    """The one that the other tests share, and a second one."""
    other = project.copy(tmp_path / "other")
    project.set_params(other, project.SMALL)
    project.repro(other)
    assert lock(other) == lock(finished)
    assert "models/policy" in lock(other)["train"]


@pytest.mark.long
def test_kto_gives_the_same_bytes_again(finished: Path, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        clone = shutil.copytree(finished, tmp_path / name, symlinks=True)
        project.set_params(clone, {"train.objective": "kto"})
        found.append(drill.undisturbed(clone, "train")[0])
    assert found[0] == found[1]
    assert found[0] != drill.digests(finished, "train")


def wait_for_step(process: subprocess.Popen[str], place: Path) -> None:
    """Until the stage has kept its first checkpoint."""
    deadline = time.monotonic() + 120
    while not drill.checkpoints(place):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


WORKERS = {"ddp": ("-m",), "fsdp": (str(project.ROOT / "tests" / "sharded.py"),)}


@pytest.mark.long
@pytest.mark.parametrize("how", WORKERS)
def test_where_one_of_two_processes_is_killed_both_go_on(how: str, another: Path) -> None:
    """The launcher ends the other; started again, they write the same bytes."""
    project.set_params(another, drill.LONG | {"runtime.device": "cpu"})
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *WORKERS[how])
    paths = {"PYTHONPATH": f"{another}{os.pathsep}{project.ROOT / 'tests'}"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *launch, "stages.train"],
            cwd=another,
            env={**os.environ, **paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = start()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    expected = drill.digests(another, "train")
    drill.remove_outputs(another, "train")
    process = start()
    wait_for_step(process, another)
    *_, worker = psutil.Process(process.pid).children()
    worker.kill()
    process.communicate()
    assert process.returncode != 0
    assert not drill.digests(another, "train")
    process = start()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.count("goes on after step") == 1
    assert drill.digests(another, "train") == expected


def test_sigterm_keeps_the_state_and_earlier_results(another: Path) -> None:
    project.set_params(another, drill.LONG)
    expected, _ = drill.undisturbed(another, "train")
    process = drill.start(another, "train")
    wait_for_step(process, another)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; earlier results are as they were" in errors
    (kept,) = re.findall(r"dvc repro goes on .* its state is kept in (\S+)", errors)
    assert str(another / kept) in drill.checkpoints(another)
    assert "Traceback" not in errors
    # The earlier model stands, and nothing half written beside it.
    assert drill.digests(another, "train") == expected
    assert not list(another.glob("models/.*")) + list(another.glob("results/curves/.*.*"))
    done = project.run(another, sys.executable, "-m", "stages.train")
    assert "goes on after step" in done.stderr
    assert drill.digests(another, "train") == expected


def test_a_second_pipeline_is_refused_while_the_first_is_at_work(another: Path) -> None:
    project.set_params(another, drill.LONG)
    programs = Path(sys.executable).parent
    first = subprocess.Popen(
        ["dvc", "repro", "-f", "-s", "train"],
        cwd=another,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_step(first, another)
    (stage,) = (
        child
        for child in psutil.Process(first.pid).children(recursive=True)
        if child.cmdline()[-1:] == ["stages.train"] and not child.children()
    )
    # It does not get done while others try.
    stage.suspend()
    second = project.run(another, "dvc", "repro", "-f", "-s", "train")
    assert second.returncode != 0
    assert "busy" in second.stderr or "lock" in second.stderr
    # DVC is killed, and its stage outlives it; nobody else may write what it writes.
    first.kill()
    first.wait()
    third = project.run(another, sys.executable, "-m", "stages.train")
    assert third.returncode == 1
    assert third.stderr == (
        "error: stages.train is already at work in this directory; wait until it is done, or stop "
        "it\n"
    )
    stage.resume()
    deadline = time.monotonic() + 120
    while drill.checkpoints(another):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    alone = drill.digests(another, "train")
    done = project.run(another, "dvc", "repro", "-f", "-s", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert drill.digests(another, "train") == alone


def test_a_full_disk_stops_with_a_message_and_loses_nothing(
    finished: Path, full_disk: Path
) -> None:
    small = full_disk / "small"
    ignored = shutil.ignore_patterns("cache", ".git", "tests", "benchmarks", "docs")
    shutil.copytree(finished, small, symlinks=True, ignore=ignored)
    before = drill.digests(small, "train")
    free = shutil.disk_usage(full_disk).free
    filler = full_disk / "filler"
    # Room for curves and a checkpoint's beginning, and for no model.
    filler.write_bytes(b"x" * (free - 190_000))
    # Another beta gives other curves, which must not take the place of those of the old model.
    project.set_params(small, {"runtime.checkpoint_minutes": 0, "train.beta": 0.3})
    done = project.run(small, sys.executable, "-m", "stages.train")
    assert done.returncode == 1, done.stderr
    assert "no checkpoint could be written" in done.stderr
    assert "make room on the disk and run dvc repro; earlier results are as" in done.stderr
    assert "Traceback" not in done.stderr
    assert drill.digests(small, "train") == before
    filler.unlink()
    done = project.run(small, sys.executable, "-m", "stages.train")
    assert done.returncode == 0, done.stderr
    after = drill.digests(small, "train")
    assert after.keys() == before.keys()
    for name in ("models/policy/model.safetensors", LOSSES):
        assert after[name] != before[name]


def test_a_damaged_cache_file_is_noticed_removed_and_made_again(another: Path) -> None:
    before = lock(another)
    policy = another / "models/policy"
    weights = (policy / "model.safetensors").read_bytes()
    cached = next(
        file
        for file in (another / ".dvc/cache/files/md5").rglob("*")
        if file.is_file() and file.read_bytes() == weights
    )
    mode = cached.stat().st_mode
    cached.chmod(0o644)
    damaged = bytearray(weights)
    damaged[-1] ^= 1
    cached.write_bytes(damaged)
    cached.chmod(mode)
    shutil.rmtree(policy)
    assert project.run(another, "dvc", "checkout").returncode == 0
    done = project.run(another, "dvc", "repro", "-f", "-s", "final-eval")
    assert done.returncode != 0
    assert "models/policy/model.safetensors: not what checksums.json" in done.stderr
    assert "Run make check-cache" in done.stderr
    checked = project.run(another, sys.executable, "-m", "tools.check_cache")
    assert checked.returncode == 0, checked.stderr
    assert "damaged, removed: models/policy/model.safetensors" in checked.stdout
    assert not cached.exists()
    assert "train" in project.repro(another)
    assert (policy / "model.safetensors").read_bytes() == weights
    assert cached.read_bytes() == weights
    assert lock(another) == before
    checked = project.run(another, sys.executable, "-m", "tools.check_cache")
    assert "nothing is damaged" in checked.stdout


def test_scores_are_kept_until_results_are_written(another: Path) -> None:
    project.set_params(another, {"runtime.checkpoint_minutes": 0})
    metrics = another / "results/metrics/final.json"
    expected = metrics.read_text()
    metrics.unlink()
    # Nothing can take the place of a directory that is not empty.
    (metrics / "in the way").mkdir(parents=True)
    done = project.run(another, sys.executable, "-m", "stages.final_eval")
    assert done.returncode == 1
    shutil.rmtree(metrics)
    done = project.run(another, sys.executable, "-m", "stages.final_eval")
    assert done.returncode == 0, done.stderr
    assert "policy: goes on after 80 responses" in done.stderr
    assert metrics.read_text() == expected
    assert not drill.checkpoints(another)


def test_evaluations_at_once_leave_each_other_alone(another: Path) -> None:
    project.set_params(another, {"runtime.checkpoint_minutes": 0})
    command = [sys.executable, "-m", "stages.final_eval", "--reference", "models/base"]
    first = subprocess.Popen(
        [*command, "--policy", "models/policy"],
        cwd=another,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_step(first, another)
    process = psutil.Process(first.pid)
    process.suspend()
    kept = drill.checkpoints(another)
    same = project.run(another, *command, "--policy", "models/policy")
    assert same.returncode == 1
    assert "is already at work in this directory" in same.stderr
    other = project.run(another, *command, "--policy", "models/sft")
    assert other.returncode == 0, other.stderr
    assert drill.checkpoints(another) == kept
    process.resume()
    found, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    again = project.run(another, *command, "--policy", "models/policy")
    assert again.stdout == found
    assert again.stdout != other.stdout
    assert not drill.checkpoints(another)


def test_a_tokenizer_that_storage_damaged_is_not_used(another: Path) -> None:
    file = another / "models/base/tokenizer.json"
    text = file.read_text()
    file.unlink()
    # Still a tokenizer, of which two tokens have changed places.
    file.write_text(text.replace('"a":', '"x":', 1).replace('"b":', '"a":', 1))
    done = project.run(another, sys.executable, "-m", "stages.prepare")
    assert done.returncode == 1
    assert "models/base/tokenizer.json: not what checksums.json beside it says" in done.stderr


def test_what_one_has_pushed_another_need_not_run(finished: Path, tmp_path: Path) -> None:
    here = shutil.copytree(finished, tmp_path / "here", symlinks=True)
    project.git(here, "add", "--all")
    project.git(here, "commit", "-q", "-m", "results")
    remote = tmp_path / "remote"
    for command in (["remote", "add", "-d", "store", str(remote)], ["push"]):
        done = project.run(here, "dvc", *command)
        assert done.returncode == 0, done.stderr
    project.git(here, "commit", "-q", "-a", "-m", "remote")
    for name, convert in (("there", "false"), ("with other line ends", "true")):
        there = tmp_path / name
        project.git(tmp_path, "clone", "-q", "-c", f"core.autocrlf={convert}", str(here), name)
        done = project.run(there, "dvc", "pull")
        assert done.returncode == 0, done.stderr
        assert project.repro(there) == []
        assert project.git(there, "status", "--porcelain") == ""
        for file in ("results/table.md", "models/policy/model.safetensors"):
            assert (there / file).read_bytes() == (finished / file).read_bytes()
