"""A pipeline that runs in a second: three stages, of which two depend on a param."""

from pathlib import Path

import project
import pytest

PIPELINE = """\
stages:
  words:
    cmd: cat words.txt > count.txt
    deps: [words.txt]
    outs: [count.txt: {persist: true}]
  train:
    cmd: python train.py
    deps: [train.py, count.txt]
    params: [train]
    outs: [policy.json: {persist: true}]
  eval:
    cmd: mkdir -p results/metrics && cp policy.json results/metrics/final.json
    deps: [policy.json]
    metrics: [results/metrics/final.json: {cache: false, persist: true}]
"""
TRAIN = """\
import json, pathlib
from ruamel.yaml import YAML
beta = YAML(typ="safe").load(pathlib.Path("params.yaml"))["train"]["beta"]
pathlib.Path("policy.json").write_text(json.dumps({"pair_acc": beta / 10}))
place = pathlib.Path(".checkpoints")
place.mkdir(exist_ok=True)
(place / "seconds.json").write_text('{"train": 1.5}')
"""
PARAMS = "train:\n  beta: 3.0  # larger than usual\nseed: 1\n"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is committed, has not run yet, and is the working directory."""
    place = tmp_path / "tiny"
    place.mkdir()
    project.git(place, "init", "-q")
    project.git(place, "config", "user.name", "test")
    project.git(place, "config", "user.email", "test@example.org")
    assert project.run(place, "dvc", "init", "-q").returncode == 0
    for name, text in (
        ("dvc.yaml", PIPELINE),
        ("train.py", TRAIN),
        ("params.yaml", PARAMS),
        ("words.txt", "words"),
        (".gitignore", "/.checkpoints/\n/count.txt\n/policy.json\n"),
        (".dvcignore", "/.checkpoints/\n"),
    ):
        (place / name).write_text(text)
    project.git(place, "add", "--all")
    project.git(place, "commit", "-q", "-m", "tiny")
    monkeypatch.chdir(place)
    return place
