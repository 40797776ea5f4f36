"""The policy as it is handed on: which files, which card, and what is said of it."""

import json
from pathlib import Path

import health_cases
import project
import pytest

from preference.core.errors import InputError
from preference.report import health
from tools import policy

KEPT = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
LEFT = (
    "adapter_config.json",
    "checksums.json",
    "model.py",
    "notes.txt",
    "optimizer.pt",
    "origin.json",
    "pytorch_model.bin",
    "training_args.bin",
)


def test_only_what_loads_as_a_model_is_handed_on(tmp_path: Path) -> None:
    for name in (*KEPT, *LEFT):
        (tmp_path / name).touch()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/model.safetensors").touch()
    assert [file.name for file in policy.files(tmp_path)] == list(KEPT)


def test_the_card_says_how_to_load_what_is_handed_on(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    written, found = policy.CARD.read_text(), policy.card("owner/name")
    changed = [
        (one, other)
        for one, other in zip(written.splitlines(), found.splitlines(), strict=True)
        if one != other
    ]
    assert len(changed) == 2
    for one, other in changed:
        assert other == one.replace("models/policy", "owner/name")


def test_what_is_not_current_is_found(another: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(another)
    assert policy.outdated() == []
    project.set_params(another, {"train.beta": 1.0})
    assert policy.outdated() == ["final-eval", "report", "train"]
    project.set_params(another, {"train.beta": 3.0})
    assert policy.outdated() == []
    Path("results/card.md").write_text("another")
    assert policy.outdated() == ["report"]


def test_where_dvc_knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dvc status: NotDvcRepoError: .*see what dvc rep"):
        policy.outdated()


def test_without_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="models/policy: no such directory; run make repro"):
        policy.verdict(force=True)


def test_a_policy_of_other_params_is_refused(
    another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    project.set_params(another, {"train.beta": 1.0})
    with pytest.raises(InputError, match="final-eval, report, train: not up to date with params"):
        policy.verdict(force=True)


@pytest.mark.parametrize("word", policy.BAD)
def test_a_bad_verdict_wants_force(
    word: str, another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    compared = json.loads(policy.COMPARISON.read_text())
    policy.COMPARISON.write_text(json.dumps(compared | {"verdict": word}))
    project.run(another, "dvc", "commit", "-f", "report")
    with pytest.raises(InputError, match=rf"comparison\.json: the verdict .* is '{word}"):
        policy.verdict(force=False)
    assert policy.verdict(force=True) == word
    policy.COMPARISON.write_text(json.dumps(compared | {"verdict": "Learned"}))
    project.run(another, "dvc", "commit", "-f", "report")
    assert policy.verdict(force=False) == "Learned"


def test_bad_words_are_those_that_the_report_has() -> None:
    worse = health.judge(health_cases.run(sft=-0.2, policy=-0.5))
    assert worse.word == "Worse than before"
    broken = health.judge(health_cases.run(moved=-3))
    assert (broken.word, worse.word) == policy.BAD
