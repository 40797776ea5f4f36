"""Real sweeps of the small pipeline, which reuse what is there, fail in part, and go on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import project
import pytest

from preference.core import params
from preference.core.lock import alone
from tools.sweep import copies, main, study

STAGES = len(project.STAGE_NAMES)
# What a change of label noise runs again.
CHANGED = project.STAGE_NAMES[project.STAGE_NAMES.index("train") :]
KEPT = STAGES - len(CHANGED)
SWEEP = ("python", "-m", "tools.sweep.main", "--study", "study.yaml")
HALF = "dpo-label_noise-0.5"


def write_study(place: Path, param: str, *values: object) -> None:
    """One of DPO, in the project's directory."""
    runs = [{"train.objective": "dpo", param: list(values)}]
    text = json.dumps({"title": "small", "x": {"param": param, "title": "x"}, "runs": runs})
    (place / "study.yaml").write_text(text)


def state(directory: Path) -> str:
    """What git says of the working directory, but for what a sweep writes."""
    status = project.git(directory, "status", "--porcelain", "--branch", "--untracked-files=all")
    kept = [line for line in status.splitlines() if not line.endswith(("sweep.md", "sweep.svg"))]
    kept.append(project.git(directory, "diff", "HEAD"))
    return "\n".join([*kept, project.git(directory, "stash", "list")])


def of(directory: Path, name: str) -> dict[str, float]:
    """Metrics of the newest experiment of this name."""
    newest = ["--sort=-committerdate", "--count=1", "--format=%(refname)"]
    reference = project.git(directory, "for-each-ref", *newest, f"refs/exps/*/*/{name}").strip()
    return json.loads(project.git(directory, "show", f"{reference}:results/metrics/final.json"))


@pytest.mark.long
def test_a_real_sweep_reuses_what_is_there(another: Path, tmp_path: Path) -> None:
    # The stages' results are not in git yet, and there are changes, staged and not.
    write_study(another, "train.label_noise", 0.0, 0.5)
    with (another / "README.md").open("a") as file:
        file.write("changed\n")
    project.git(another, "add", "README.md")
    with (another / "CONTRIBUTING.md").open("a") as file:
        file.write("changed\n")
    before = state(another)
    digits = params.load(another / "params.yaml").report.decimals

    # A variant that fails is named, the others are told of.
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'error: there is no device' >&2\nexit 1\n")
    failing.chmod(0o755)
    done = project.run(another, *SWEEP, LAUNCH=str(failing))
    assert done.returncode == 1
    assert f"{HALF}: ran nothing; failed: there is no device" in done.stderr
    assert done.stderr.endswith(f"error: 1 of 2 runs failed: {HALF}\n")
    assert f"`{HALF}` failed: there is no device" in done.stdout
    assert "| dpo-label_noise-0 | 0." in done.stdout

    done = project.run(another, *SWEEP, LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert f"dpo-label_noise-0: ran nothing; reused {STAGES} stages" in done.stderr
    assert f"{HALF}: ran train (" in done.stderr
    assert f"; reused {KEPT} stages" in done.stderr
    table = (another / "results/sweep.md").read_text()
    assert table == done.stdout
    assert f"| {', '.join(CHANGED)} | {KEPT} |" in table
    assert f"\n{STAGES + KEPT} of {2 * STAGES} stage runs were reused, which saved about" in table
    present = json.loads((another / "results/metrics/final.json").read_text())
    for row, values in ((2, present), (3, of(another, f"sweep-{HALF}"))):
        keys = ("pair_acc", "pair_acc_low", "pair_acc_high")
        value, low, high = (f"{values[key]:.{digits}f}" for key in keys)
        assert f" | {value} | {low} to {high} | " in table.splitlines()[row]
    assert state(another) == before
    listed = project.run(another, "dvc", "exp", "list", "--name-only").stdout.split()
    assert listed == [f"sweep-{HALF}"]
    assert not list((another / copies.COPIES).glob("*"))

    # Again, on top of another commit: nothing is left to run.
    chart = (another / "results/sweep.svg").read_bytes()
    project.git(another, "add", "--all")
    project.git(another, "commit", "-q", "-m", "finished")
    done = project.run(another, *SWEEP, "--out", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert f"{HALF}: ran nothing; reused {STAGES} stages" in done.stderr
    assert (another / "elsewhere/sweep.svg").read_bytes() == chart
    again = (another / "elsewhere/sweep.md").read_text()
    assert [row.split("|")[:6] for row in again.splitlines()[:4]] == [
        row.split("|")[:6] for row in table.splitlines()[:4]
    ]


@pytest.mark.long
def test_real_seeds_share_the_data_and_are_shown_together(another: Path) -> None:
    (another / "recipes/studies/mine.yaml").write_text(
        "title: mine\nx: {param: train.beta, title: beta}\nruns: [{train.beta: 1.0}]\n"
    )
    command = ("python", "-m", "tools.sweep.main", "--study", "mine", "--seeds", "2")
    done = project.run(another, *command)
    assert done.returncode == 0, done.stderr
    # The second seed's data are the first one's, and its second beta has its first one's SFT.
    ran = {line.split(":")[0]: line for line in done.stderr.splitlines() if ": ran " in line}
    assert list(ran) == [
        "seed-42-beta-3",
        "seed-42-beta-1",
        "seed-43-beta-3",
        "seed-43-beta-1",
    ]
    assert "prepare" not in ran["seed-43-beta-3"]
    assert "sft-warmup" in ran["seed-43-beta-3"]
    assert f"; reused {KEPT} stages" in ran["seed-43-beta-1"]
    table = (another / "results/seeds.md").read_text()
    assert table == done.stdout
    assert "| DPO, beta-1 - DPO, beta-3 | margin | " in table
    assert "seeds of DPO, beta-3: 42, 43; DPO, beta-1: 42, 43." in table
    values = [of(another, f"sweep-seed-43-beta-{beta}") for beta in (3, 1)]
    here = json.loads((another / "results/metrics/final.json").read_text())
    mean = (here["pair_acc"] + values[0]["pair_acc"]) / 2
    assert f"| DPO, beta-3 | pair_acc | {mean:.4f} | " in table
    assert (another / "results/seeds.svg").read_text().startswith("<svg")


@pytest.mark.long
def test_a_real_screen(another: Path) -> None:
    (another / "recipes/studies/mine.yaml").write_text(
        "title: mine\nx: {param: train.beta, title: beta}\nview: screen\n"
        "runs: [{train.objective: [ipo, simpo]}]\n"
    )
    done = project.run(another, "python", "-m", "tools.sweep.main", "--study", "mine")
    assert done.returncode == 0, done.stderr
    rows = (another / "results/screen.md").read_text().splitlines()[2:5]
    assert [row.split(" | ")[1] for row in rows] == ["dpo-beta-3", "ipo-beta-3", "simpo-beta-3"]
    assert not any("n/a" in row for row in rows)
    assert "without one" in (another / "results/screen.svg").read_text()


@pytest.mark.long
def test_interrupted_it_goes_on_inside_of_a_training(
    another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_study(another, "train.epochs", 15)
    project.set_params(another, {"runtime.checkpoint_minutes": 0})
    checkpoints = copies.COPIES / "0" / copies.KEPT / "train"
    command = [sys.executable, *SWEEP[1:]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(checkpoints.glob("*/0*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGINT
    assert told.splitlines()[-1].startswith("stopped by SIGINT")
    newest = max(int(step.name) for step in checkpoints.glob("*/0*"))

    # The stage at work kept where it was, and has ended.
    project.set_params(another, {"runtime.checkpoint_minutes": 5})
    lines: list[str] = []
    runs = study.read("study.yaml", params.load())[1]
    assert [variant.name for variant in runs] == ["dpo-epochs-2", "dpo-epochs-15"]
    (_, present), (_, outcome) = main.runs(runs, lines.append)
    assert (present.error, outcome.error) == ("", "")
    assert list(outcome.ran) == CHANGED
    assert any(line.startswith(f"train: goes on after step {newest}, from") for line in lines)


def test_one_sweep_at_a_time_in_a_project_with_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def sweep(*arguments: str) -> str:
        command = ("python", "-m", "tools.sweep.main", *arguments)
        done = project.run(tmp_path, *command, PYTHONPATH=str(project.ROOT))
        assert done.returncode == 1
        return done.stderr

    assert sweep().startswith("error: params.yaml: no such file")
    (tmp_path / "params.yaml").write_bytes((project.ROOT / project.DEFAULT).read_bytes())
    assert sweep("--study", "mine").startswith("error: recipes/studies/mine.yaml: cannot be read")
    write_study(tmp_path, "train.label_noise", 25)
    assert sweep("--study", "study.yaml") == (
        "error: study.yaml: train.label_noise: input should be less than or equal to 1 (it is 25)\n"
    )
    write_study(tmp_path, "train.label_noise", 0.25)
    assert sweep("--seeds", "1") == "error: --seeds 1: seeds are compared, so take 2 or more\n"
    assert sweep("--study", "study.yaml").startswith("error: git log: fatal: not a git repository")
    with alone("sweep"):
        assert "sweep is already at work" in sweep("--study", "study.yaml")
