"""Sweeps: which runs, their table and chart by value, and real ones that reuse what is there."""

import json
import math
from pathlib import Path

import project
import pytest

from preference.core import params
from preference.core.errors import InputError
from tools.sweep import copies, study
from tools.sweep.follow import Failed, Log, follow
from tools.sweep.study import Outcome, Saving, Variant

DPO, HALF, KTO = Variant("dpo", 0.0, 8), Variant("dpo", 0.5, 8), Variant("kto", 0.0, 16)


def metrics(accuracy: float, margin: float) -> dict[str, float]:
    return {
        "pair_acc": accuracy,
        "pair_acc_low": accuracy - 0.03,
        "pair_acc_high": accuracy + 0.02,
        "margin": margin,
        "margin_low": margin - 0.5,
        "margin_high": math.nan,
    }


OUTCOMES = [
    Outcome(DPO, 1.25, {}, ["sft-warmup", "train", "report"], metrics(0.7, 2.88)),
    Outcome(HALF, 14.0, {"train": 10.0, "report": 2.0}, ["sft-warmup"], metrics(0.55, 0.1)),
    Outcome(KTO, 3.04, {}, ["sft-warmup"], None, "train: the loss is nan"),
]


def test_every_run_once_and_what_params_ask_for_among_them() -> None:
    assert study.variants([0.5, 0.0, 0.5], ["dpo", "kto"], DPO) == [DPO, HALF, KTO]
    other = Variant("kto", 0.1, 16)
    # Steps of as many pairs: KTO makes two examples of each.
    assert study.variants([0.0], [], other) == [DPO, other]
    assert DPO.changed("kto", 0.25) == Variant("kto", 0.25, 16)
    assert Variant("kto", 0.0, 5).changed("dpo", 0.0) == Variant("dpo", 0.0, 2)
    assert Variant("kto", 0.0, 1).changed("dpo", 0.0) == Variant("dpo", 0.0, 1)
    assert study.variants([], ["kto"], KTO) == [KTO]


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (DPO, "dpo"),
        (KTO, "kto"),
        (Variant("dpo", 0.29, 8), "noise-29"),
        (Variant("dpo", 0.125, 8), "noise-12.5"),
        (Variant("dpo", 1, 8), "noise-100"),
        (Variant("kto", 0.25, 16), "kto-noise-25"),
    ],
)
def test_names_of_experiments(variant: Variant, name: str) -> None:
    assert (variant.name, variant.experiment) == (name, f"sweep-{name}")


def test_settings_are_written_as_params_has_them() -> None:
    # DVC would take 1 and 1.0 for two values.
    assert Variant("dpo", 1, 8).settings == {
        "train.objective": "dpo",
        "train.label_noise": "1.0",
        "train.batch_size": "8",
    }


def test_what_was_measured_counts_before_what_was_noted() -> None:
    found = study.saving(OUTCOMES, {"train": 100.0, "report": 100.0, "other": 1.0})
    assert found == Saving(reused=5, runs=7, saved=12.0, full=24.0, unknown=3)
    assert study.saving(OUTCOMES, {"sft-warmup": 30.0}).saved == 102
    assert study.saving(OUTCOMES, {"sft-warmup": 30.0}).unknown == 0


def test_table_to_the_letter() -> None:
    known = study.saving(OUTCOMES, {"sft-warmup": 30.0})
    assert (
        study.table(OUTCOMES, known, DPO, decimals=3)
        == """\
| variant | pair_acc | 95% interval | margin | 95% interval | stages run | reused | seconds |
| --- | ---: | :---: | ---: | :---: | --- | ---: | ---: |
| dpo | 0.700 | 0.670 to 0.720 | 2.880 | 2.380 to n/a | none | 3 | 1.2 |
| noise-50 | 0.550 | 0.520 to 0.570 | 0.100 | -0.400 to n/a | train, report | 1 | 14.0 |
| kto | failed |  | failed |  | none | 1 | 3.0 |

5 of 7 stage runs were reused, which saved about 102 s of 114 s. The sweep took 18 s. Seconds are \
those of the run that wrote this table, on its machine. A step of KTO has as many pairs as one of \
DPO, and so twice the examples.

`dpo` is what `params.yaml` asks for, and its results are those in this directory. The others are \
experiments, for `dvc exp show` and `dvc exp apply` under their names with `sweep-` before them.

`kto` failed: train: the loss is nan
"""
    )


def test_table_says_what_is_not_known() -> None:
    text = study.table(OUTCOMES, Saving(5, 7, 12.0, 24.0, 3), DPO, 4)
    assert "saved at least 12 s of 24 s (how long 3 of them take is not known). The" in text
    alone = Outcome(DPO, 60.0, {"train": 50.0}, [], metrics(0.7, 2.88))
    assert "| all | 0 | 60.0 |" in study.table([alone], study.saving([alone], {}), DPO, 4)


def test_lines_for_those_who_watch() -> None:
    assert [study.line(outcome) for outcome in OUTCOMES] == [
        "dpo: ran nothing; reused 3 stages",
        "noise-50: ran train (10.0 s), report (2.0 s); reused 1 stages",
        "kto: ran nothing; reused 1 stages; failed: train: the loss is nan",
    ]


def test_chart_shows_the_values_and_leaves_out_what_failed() -> None:
    kto = Outcome(KTO, 1.0, {}, [], metrics(0.6, 1.0))
    spec = study.chart([*OUTCOMES, kto], {"baseline": 0.476, "SFT": 0.582})
    levels, *series = spec["layer"]
    assert levels["data"]["values"] == [
        {"name": "baseline", "pair_acc": 0.476, "shift": 5},
        {"name": "SFT", "pair_acc": 0.582, "shift": -5},
    ]
    assert [one["data"]["values"] for one in series] == [
        [
            {"objective": "DPO", "noise": noise, "pair_acc": value}
            | {"pair_acc_low": value - 0.03, "pair_acc_high": value + 0.02}
            for noise, value in ((0.0, 0.7), (0.5, 0.55))
        ],
        [
            {"objective": "KTO", "noise": 0.0, "pair_acc": 0.6}
            | {"pair_acc_low": 0.6 - 0.03, "pair_acc_high": 0.6 + 0.02}
        ],
    ]
    assert [mark["mark"]["type"] for mark in series[1]["layer"]] == ["line", "rule", "point"]
    assert {mark["mark"]["xOffset"] for mark in series[1]["layer"]} == {study.BESIDE}
    assert series[0]["encoding"]["x"]["axis"]["values"] == [0.0, 0.5]


def test_chart_is_drawn_the_same_each_time_on_white() -> None:
    import vl_convert

    spec = study.chart(OUTCOMES, {"SFT": 0.582})
    drawn = vl_convert.vegalite_to_svg(spec)
    assert drawn == vl_convert.vegalite_to_svg(spec)
    assert '<rect width="' in drawn
    assert 'fill="white"' in drawn
    assert ">DPO<" in drawn
    assert ">SFT<" in drawn


# What DVC 3.67 wrote, with the seconds at which it did.
OUTPUT = """\
0.8 Reproducing experiment 'noise-50'
1.5 Stage 'fetch-data' didn't change, skipping
1.6 'notes.dvc' didn't change, skipping
1.6 Stage 'sft-eval' didn't change, skipping
1.7 Stage 'sft-warmup' is cached - skipping run, checking out outputs
1.9 Running stage 'train':
1.9 > ${LAUNCH:-python} -m stages.train
4.6 train:   0%|          | 0/120 [00:00<?, ? pairs/s]
5.4 Updating lock file 'dvc.lock'
5.7 Running stage 'final-eval':
5.7 > ${LAUNCH:-python} -m stages.final_eval
8.7 Running stage 'report':
8.7 > python -m stages.report
9.7 results/table.md: written
"""
ENDED = "9.9 Updating lock file 'dvc.lock'\n10.1 \n10.1 Ran experiment(s): noise-50\n"
FAILED = """\
9.8 error: the scores are of different pairs; run dvc repro
9.9 ERROR: failed to reproduce 'report': failed to run: python -m stages.report, exited with 1
"""


def read(output: str) -> Log:
    log = Log()
    for line in output.splitlines():
        when, _, said = line.partition(" ")
        log.add(f"{said}\n", float(when))
    return log


def test_dvc_says_what_ran_and_for_how_long() -> None:
    log = read(OUTPUT + ENDED)
    assert log.reused == ["fetch-data", "sft-eval", "sft-warmup"]
    assert log.ran == pytest.approx({"train": 3.5, "final-eval": 3.0, "report": 1.2})
    assert log.running is None
    assert log.done == 6


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (OUTPUT + FAILED, "report: the scores are of different pairs; run dvc repro"),
        (OUTPUT + FAILED[FAILED.index("9.9") :], f"report: {FAILED.splitlines()[1][11:]}"),
        (
            OUTPUT + "9.8 torch.OutOfMemoryError: CUDA out of memory\n" + FAILED.splitlines()[1],
            "report: torch.OutOfMemoryError: CUDA out of memory",
        ),
        ("0.4 ERROR: Unable to acquire lock.", "Unable to acquire lock."),
        ("", "DVC ended without a word"),
    ],
)
def test_dvc_says_why_it_failed(output: str, why: str) -> None:
    assert read(output).error == why


def test_a_failed_command_is_one(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not inside of a DVC repository"):
        follow(["status"], tmp_path, lambda log, line: None)


def test_stages_that_depend_on_params() -> None:
    def stage(deps: list[str], outs: list[str], tracked: list[str]) -> dict[str, object]:
        return {
            "deps": [{"path": path} for path in deps],
            "outs": [{"path": path} for path in outs],
            "params": {"params.yaml": dict.fromkeys(tracked, 1)},
        }

    stages = {
        "sft": stage(["data/prepared"], ["models/sft"], ["sft", "train.b"]),
        "train": stage(["models/sft"], ["models/policy", "results/curves"], ["train"]),
        "eval": stage(["models/policy/model.safetensors"], ["results/final.json"], []),
        "report": stage(["results/final.json"], ["results/table.md"], ["report"]),
        "card": stage(["models"], ["card.md"], []),
        "other": stage(["models/policy-of-another"], [], []),
    }
    assert copies.depending(stages, ["train.beta"]) == {"train", "eval", "report", "card"}
    assert copies.depending(stages, ["report.decimals"]) == {"report"}
    assert copies.depending(stages, ["seed"]) == set()


def test_experiments_need_a_repository_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a git repository with a commit"):
        copies.require_repository()
    project.git(tmp_path, "init", "-q")
    with pytest.raises(InputError, match="a git repository with a commit"):
        copies.require_repository()
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    project.git(tmp_path, *identity, "commit", "-q", "--allow-empty", "-m", "empty")
    copies.require_repository()
    Path("within").mkdir()
    monkeypatch.chdir("within")
    with pytest.raises(InputError, match="of their own; this is within/ of one"):
        copies.require_repository()


def test_one_sweep_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = pytest.raises(InputError, match="already at work")
    with copies.alone(), refused, copies.alone():
        pass


STAGES = len(project.STAGE_NAMES)
# What a change of label noise runs again.
CHANGED = project.STAGE_NAMES[project.STAGE_NAMES.index("train") :]
KEPT = STAGES - len(CHANGED)
SWEEP = ("python", "-m", "tools.sweep.main", "--noise", "0", "0.5", "--objectives", "dpo")


def state(directory: Path) -> str:
    """What git says of the working directory, but for what a sweep writes."""
    status = project.git(directory, "status", "--porcelain", "--branch", "--untracked-files=all")
    kept = [line for line in status.splitlines() if not line.endswith(("sweep.md", "sweep.svg"))]
    kept.append(project.git(directory, "diff", "HEAD"))
    return "\n".join([*kept, project.git(directory, "stash", "list")])


def test_a_real_sweep_reuses_what_is_there(another: Path, tmp_path: Path) -> None:
    # The stages' results are not in git yet, and there are changes, staged and not.
    with (another / "README.md").open("a") as file:
        file.write("changed\n")
    project.git(another, "add", "README.md")
    with (another / "CONTRIBUTING.md").open("a") as file:
        file.write("changed\n")
    before = state(another)
    digits = params.load(another / "params.yaml").report.decimals
    # An experiment of that name, which knows nothing of the stages.
    project.git(another, "update-ref", f"refs/exps/aa/{'a' * 38}/sweep-noise-50", "HEAD")

    # One's own, which no sweep touches.
    own = f"refs/exps/bb/{'b' * 38}/noise-50"
    project.git(another, "update-ref", own, "HEAD")
    commit = project.git(another, "rev-parse", own)

    # A variant that fails is named, the others are told of.
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'error: there is no device' >&2\nexit 1\n")
    failing.chmod(0o755)
    done = project.run(another, *SWEEP, LAUNCH=str(failing))
    assert done.returncode == 1
    failed = f"noise-50: ran nothing; reused {KEPT} stages; failed: train: there is no device"
    assert failed in done.stderr
    assert "`noise-50` failed: train: there is no device" in done.stdout
    assert "| dpo | 0." in done.stdout

    done = project.run(another, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert f"dpo: ran nothing; reused {STAGES} stages" in done.stderr
    assert "noise-50: ran train (" in done.stderr
    assert f"; reused {KEPT} stages" in done.stderr
    table = (another / "results/sweep.md").read_text()
    assert table == done.stdout
    assert f"| {', '.join(CHANGED)} | {KEPT} |" in table
    assert f"\n{STAGES + KEPT} of {2 * STAGES} stage runs were reused" in table
    for row, values in ((2, of(another, "dpo")), (3, of(another, "sweep-noise-50"))):
        keys = ("pair_acc", "pair_acc_low", "pair_acc_high")
        value, low, high = (f"{values[key]:.{digits}f}" for key in keys)
        assert f" | {value} | {low} to {high} | " in table.splitlines()[row]
    assert state(another) == before
    assert project.git(another, "rev-parse", own) == commit
    assert (
        "sweep-noise-50" in project.run(another, "dvc", "exp", "list", "--name-only").stdout.split()
    )
    assert not list((another / ".dvc/tmp/sweep").iterdir())

    # Again, on top of another commit: nothing is left to run.
    chart = (another / "results/sweep.svg").read_bytes()
    project.git(another, "add", "--all")
    project.git(another, "commit", "-q", "-m", "finished")
    done = project.run(another, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert f"noise-50: ran nothing; reused {STAGES} stages" in done.stderr
    assert (another / "results/sweep.svg").read_bytes() == chart
    again = (another / "results/sweep.md").read_text()
    assert [row.split("|")[:6] for row in again.splitlines()[:4]] == [
        row.split("|")[:6] for row in table.splitlines()[:4]
    ]


def of(directory: Path, name: str) -> dict[str, float]:
    """Metrics of an experiment, or of the working directory."""
    if name == "dpo":
        return json.loads((directory / "results/metrics/final.json").read_text())
    newest = ["--sort=-committerdate", "--count=1", "--format=%(refname)"]
    reference = project.git(directory, "for-each-ref", *newest, f"refs/exps/*/*/{name}").strip()
    return json.loads(project.git(directory, "show", f"{reference}:results/metrics/final.json"))


def test_sweep_refuses_what_is_no_share(another: Path) -> None:
    done = project.run(another, "python", "-m", "tools.sweep.main", "--noise", "25")
    assert done.returncode == 2
    assert "shares from 0 to 1" in done.stderr
