"""Several runs at a time: what each has of the machine, where it runs, and how all are stopped."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import project
import pytest
import torch
from dvc.repo import Repo
from hypothesis import given
from hypothesis import strategies as st

from tools.sweep import copies, lanes
from tools.sweep.follow import follow
from tools.sweep.study import Variant

# Waits until as many runs are at work as it is told of, so that they can only end together.
TOGETHER = """\
import json, os, pathlib, time
from ruamel.yaml import YAML
settings = YAML(typ="safe").load(pathlib.Path("params.yaml"))
beta, here = settings["train"]["beta"], pathlib.Path({place!r})
(here / f"{{settings['seed']}}-{{beta}}").write_text(os.environ.get("OMP_NUM_THREADS", "all"))
deadline = time.monotonic() + 60
while len(list(here.iterdir())) < {several} and time.monotonic() < deadline:
    time.sleep(0.02)
pathlib.Path("policy.json").write_text(json.dumps({{"pair_acc": beta / 10, "cwd": os.getcwd()}}))
"""


def variant(**settings: Any) -> Variant:
    named = {key.replace("_", "."): value for key, value in settings.items()}
    text = "-".join(f"{key}-{value}" for key, value in settings.items())
    return Variant(text, 0, "DPO", named)


def began(tiny: Path, tmp_path: Path, several: int) -> Path:
    """The pipeline has run here; runs to come wait for each other. Where they sign is returned."""
    assert follow(["repro"], lambda line: None).error == ""
    place = tmp_path / "at work"
    place.mkdir()
    (tiny / "train.py").write_text(TOGETHER.format(place=str(place), several=several))
    return place


def test_two_at_a_time_each_with_its_share(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    place = began(tiny, tmp_path, several=2)
    asked = [variant(train_beta=beta) for beta in (1.0, 2.0, 4.0)]
    found = {v.name: outcome for v, outcome in lanes.runs(Repo(), asked, lambda line: None, 2)}
    assert {name: outcome.error for name, outcome in found.items()} == {v.name: "" for v in asked}
    for number, v in enumerate(asked):
        final = found[v.name].metrics["final"]
        assert final["pair_acc"] == v.settings["train.beta"] / 10
        assert Path(final["cwd"]) == (tiny / copies.COPIES / str(number % 2)).resolve()
    assert {file.read_text() for file in place.iterdir()} == {"3"}
    names = project.run(tiny, "dvc", "exp", "list", "--name-only").stdout.split()
    assert sorted(names) == [f"sweep-{v.name}" for v in asked]


def test_one_at_a_time_has_the_whole_machine(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    place = began(tiny, tmp_path, several=1)
    asked = [variant(train_beta=beta) for beta in (1.0, 2.0)]
    found = list(lanes.runs(Repo(), asked, lambda line: None, 1))
    assert [v for v, _ in found] == asked
    assert {Path(outcome.metrics["final"]["cwd"]).name for _, outcome in found} == {"0"}
    assert {file.read_text() for file in place.iterdir()} == {"all"}


def test_runs_of_one_seed_share_a_copy(tiny: Path, tmp_path: Path) -> None:
    began(tiny, tmp_path, several=1)
    asked = [variant(seed=seed, train_beta=beta) for seed in (1, 2) for beta in (1.0, 2.0)]
    found = {v.name: outcome for v, outcome in lanes.runs(Repo(), asked, lambda line: None, 4)}
    places = [Path(found[v.name].metrics["final"]["cwd"]).name for v in asked]
    assert places == ["0", "0", "1", "1"]


def test_stopped_all_end_and_none_begins(tiny: Path, tmp_path: Path) -> None:
    place = began(tiny, tmp_path, several=9)
    asked = [variant(train_beta=float(beta)) for beta in range(1, 6)]
    begun = time.monotonic()

    def told(line: str) -> None:
        if len(list(place.iterdir())) == 2:
            raise KeyboardInterrupt

    (tiny / "train.py").write_text(
        (tiny / "train.py").read_text().replace("time.sleep(0.02)", "print('.', flush=True)")
    )
    with pytest.raises(KeyboardInterrupt):
        list(lanes.runs(Repo(), asked, told, 2))
    assert time.monotonic() - begun < 50
    assert len(list(place.iterdir())) == 2
    assert project.run(tiny, "dvc", "exp", "list", "--name-only").stdout == ""


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 5), st.booleans())
def test_parts_are_all_once_and_divide_no_seed(seeds: list[int], of: int, seeded: bool) -> None:
    named = [("seed" if seeded else "train_batch_size", seed) for seed in seeds]
    asked = [variant(**{name: value}, number=n) for n, (name, value) in enumerate(named)]
    parts = [lanes.part(asked, number, of) for number in range(of)]
    names = [[v.name for v in part] for part in parts]
    assert sorted(name for part in names for name in part) == sorted(v.name for v in asked)
    if seeded:
        own = [{v.settings["seed"] for v in part} for part in parts]
        assert sum(map(len, own)) == len(set(seeds))
    else:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("environment", "devices", "shares"),
    [
        ({}, 0, [None, None, None]),
        ({}, 8, ["0,3,6", "1,4,7", "2,5"]),
        ({}, 2, ["0", "1", "0"]),
        ({"CUDA_VISIBLE_DEVICES": "7,5,4"}, 3, ["7", "5", "4"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, [None, None, None]),
    ],
)
def test_gpus_are_dealt(
    environment: Mapping[str, str],
    devices: int,
    shares: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (lanes.VISIBLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    assert [lanes.share(number, 3).get(lanes.VISIBLE) for number in range(3)] == shares
    assert lanes.share(0, 1) == {}
