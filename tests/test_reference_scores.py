"""What the reference scores of the training data, and what objectives then train with."""

import logging
from pathlib import Path

import naive
import numpy as np
import project
import pytest
from safetensors.torch import load_file
from test_other_data import metrics, naive_scores, run
from transformers import AutoModelForCausalLM

from preference.core import params
from preference.objectives.mismatched import mismatched
from preference.objectives.public_length import to_public_length
from preference.store import examples, scores

KEPT = Path("data/reference")


def kept() -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in KEPT.iterdir()}


def test_kto_with_its_kl_term_is_trained_with_mismatched_combinations(
    another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    before = kept()
    changes = {"train.objective": "kto_kl", "reference.train": "mismatched", "train.epochs": 1}
    project.set_params(another, changes)
    run("reference", "train", "final_eval")
    after = kept()
    assert set(after) - set(before) == {"mismatched"}
    assert all(after[name] == before[name] for name in before)
    prepared = examples.read(Path("data/prepared/train.parquet"))
    apart = mismatched(prepared, params.load().seed)
    assert apart.longest <= prepared.longest
    found = scores.read(KEPT / "mismatched.parquet")
    loaded = AutoModelForCausalLM.from_pretrained("models/sft").eval()
    np.testing.assert_allclose(found.logps, naive.score(loaded, apart).logps, rtol=1e-4)
    # Behind their own prompts they are others.
    assert np.abs(found.logps - scores.read(KEPT / "train.parquet").logps).max() > 0.5
    # The metrics, of test pairs whose two sides are examples: there the KL term is 0.
    (_, policy), (_, reference) = naive_scores(another, "policy"), naive_scores(another, "sft")
    reward = 3.0 * (policy - reference)
    final, desirable = metrics(another, "final"), np.arange(len(reward)) % 2 == 0
    losses = 1 / (1 + np.exp(np.where(desirable, reward, -reward)))
    assert final["loss"] == pytest.approx(losses.mean(), rel=1e-3)
    assert final["desired_reward"] > final["undesired_reward"]


def test_ld_dpo_is_trained_with_responses_cut_to_the_shorter_one(
    another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    before = kept()
    changes = {"train.objective": "ld_dpo", "reference.train": "public_length", "train.epochs": 1}
    project.set_params(another, changes | {"train.beta": 0.1, "train.options": {"alpha": 0.4}})
    run("reference", "train", "final_eval")
    after = kept()
    assert set(after) - set(before) == {"public_length"}
    assert all(after[name] == before[name] for name in before)
    cut = to_public_length(examples.read(Path("data/prepared/train.parquet")))
    loaded = AutoModelForCausalLM.from_pretrained("models/sft").eval()
    found = scores.read(KEPT / "public_length.parquet")
    np.testing.assert_allclose(found.logps, naive.score(loaded, cut).logps, rtol=1e-4)
    # The metrics are of whole test responses, of sums.
    (policy, _), (reference, _) = naive_scores(another, "policy"), naive_scores(another, "sft")
    reward = 0.1 * np.subtract(*(policy - reference).reshape(-1, 2).T)
    final = metrics(another, "final")
    assert final["reward"] == pytest.approx(reward.mean(), abs=1e-4)
    assert final["loss"] == pytest.approx(np.log1p(np.exp(-reward)).mean(), rel=1e-3)


def test_what_needs_no_reference_trains_without_it(
    another: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(another)
    caplog.set_level(logging.INFO)
    project.set_params(another, {"train.objective": "simpo", "train.epochs": 1})
    weights = []
    for scored in ("responses", "none"):
        project.set_params(another, {"reference.train": scored})
        caplog.clear()
        run("reference", "train")
        assert ("train" in kept()) == (scored == "responses")
        said = "simpo needs no reference scores of the training responses; reference.train: none"
        assert (said in caplog.text) == (scored == "responses")
        weights.append(load_file("models/policy/model.safetensors"))
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
