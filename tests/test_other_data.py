"""Data that are no pairs of dialogues: rankings, and labelled single responses, to the end."""

import importlib
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import naive
import numpy as np
import project
import pytest
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

from preference.core.errors import InputError
from preference.store import examples, scores

STAGES = (
    *("fetch_data", "prepare", "baseline_eval", "sft_warmup", "reference", "sft_eval", "train"),
    "final_eval",
)
TOWNS = ("Ulm", "Bern", "Graz", "Kiel", "Linz", "Chur")


def write_source(directory: Path, rows: dict[str, list[dict[str, Any]]], **changes: Any) -> None:
    """Files that the project takes its data from, with some params set to other values."""
    (directory / "own").mkdir()
    for split, of_split in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in of_split)
        (directory / f"own/{split}.jsonl").write_text(lines)
    project.set_params(directory, {"data.source": "own", **changes})


def run(*stages: str) -> None:
    """Run stages one after the other, in this process and the working directory."""
    for stage in stages:
        AcceleratorState._reset_state(True)
        module = importlib.import_module(f"stages.{stage}")
        module.main(Namespace(policy=None, reference=None, output=None))


def metrics(directory: Path, name: str) -> dict[str, Any]:
    return json.loads((directory / f"results/metrics/{name}.json").read_text())


def naive_scores(directory: Path, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Means over tokens of a saved model, one sequence at a time, in the prepared order."""
    loaded = AutoModelForCausalLM.from_pretrained(directory / "models" / model).eval()
    found = naive.score(loaded, examples.read(directory / "data/prepared/test.parquet"))
    return found.logps, found.logps / found.tokens


def ranking(number: int) -> dict[str, Any]:
    town = TOWNS[number % len(TOWNS)]
    completions = [f"It is in {town}.", f"Perhaps near {town}, I think.", "No idea."]
    order = np.random.default_rng(number).permutation(3)
    return {
        "prompt": f"Where is number {number}?",
        "completions": [completions[i] for i in order],
        "scores": [float((2, 1, 0)[i]) for i in order],
    }


def test_three_responses_to_a_prompt(another: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(another)
    rows = [ranking(number) for number in range(30)]
    changes = {"data.train_pairs": 50, "data.eval_pairs": None}
    write_source(another, {"train": rows[:20], "test": rows[20:]}, **changes)
    run(*STAGES)
    prepared = metrics(another, "prepare")
    assert (prepared["train"]["format"], prepared["train"]["template"]) == ("ranked", "none")
    # 16 rows of three pairs each, and two of the next.
    assert (prepared["train"]["rows_read"], prepared["train"]["pairs"]) == (17, 50)
    assert (prepared["test"]["rows_read"], prepared["test"]["pairs"]) == (10, 30)
    # Each response is scored once, though it stands in two pairs.
    reference = scores.read(another / "data/reference/test.parquet")
    assert len(reference.logps) == 30
    sums, _ = naive_scores(another, "sft")
    np.testing.assert_allclose(reference.logps, sums, rtol=1e-4)
    # The metrics, from the rows themselves.
    _, policy = naive_scores(another, "policy")
    margins = []
    for number, row in enumerate(rows[20:]):
        for a in range(3):
            for b in range(3):
                if row["scores"][a] > row["scores"][b]:
                    margins.append(policy[3 * number + a] - policy[3 * number + b])
    final = metrics(another, "final")
    assert final["pairs"] == len(margins) == 30
    assert final["margin"] == pytest.approx(np.mean(margins), rel=1e-3)
    assert final["pair_acc"] == pytest.approx(np.mean(np.array(margins) > 0), abs=0.04)
    assert metrics(another, "sft")["pairs"] == metrics(another, "baseline")["pairs"] == 30
    # Training moved it.
    assert final["margin"] > metrics(another, "sft")["margin"]
    run("samples", "report")
    page = (another / "results/report.html").read_text()
    assert "Where is number 20?" in page
    assert "| SFT + DPO |" in (another / "results/table.md").read_text()


def test_labelled_single_responses(another: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(another)
    rows = [
        {
            "prompt": f"Where is number {number}?",
            "completion": f"In {TOWNS[number % 6]}." if number % 2 else "No idea.",
            "label": bool(number % 2),
            "weight": 2.0 if number % 3 == 0 else None,
        }
        for number in range(40)
    ]
    changes = {"train.objective": "kto", "data.train_pairs": 24}
    write_source(another, {"train": rows[:30], "test": rows[30:]}, **changes)
    run(*STAGES)
    prepared = metrics(another, "prepare")
    assert (prepared["train"]["format"], prepared["train"]["template"]) == ("labelled", "none")
    assert prepared["train"]["pairs"] == 0
    assert prepared["train"]["labelled_responses"] == prepared["train"]["rows_read"] == 24
    final, (_, policy), (_, reference) = (
        metrics(another, "final"),
        naive_scores(another, "policy"),
        naive_scores(another, "sft"),
    )
    reward = 3.0 * (policy - reference)
    labels = np.array([row["label"] for row in rows[30:]])
    assert (final["pairs"], final["pair_acc"], final["margin"]) == (0, None, None)
    assert (final["desirable"], final["undesirable"]) == (5, 5)
    assert final["auc"] == pytest.approx(np.mean(policy[labels, None] > policy[~labels]))
    margin = policy[labels].mean() - policy[~labels].mean()
    assert final["label_margin"] == pytest.approx(margin, rel=1e-2)
    headline = json.loads((another / "results/headline/final.json").read_text())
    assert headline == {key: final[key] for key in ("auc", "label_margin")}
    assert final["label_acc"] == pytest.approx(np.mean((reward > 0) == labels))
    assert final["desired_reward"] == pytest.approx(reward[labels].mean(), rel=1e-2)
    assert final["undesired_reward"] == pytest.approx(reward[~labels].mean(), rel=1e-2)
    assert final["desired_reward"] > final["undesired_reward"]
    # The report compares the models by labels, and says nothing of pairs.
    run("samples", "report")
    table = (another / "results/table.md").read_text()
    assert "On 5 desirable and 5 undesirable test responses SFT + KTO changes auc by " in table
    assert "| model | auc | 95% interval | label_margin | 95% interval |" in table
    assert f"| SFT + KTO | {final['auc']:.4f} | " in table
    compared = json.loads((another / "results/comparison.json").read_text())
    gain = final["auc"] - metrics(another, "baseline")["auc"]
    assert compared["final_vs_baseline_auc_difference"] == pytest.approx(gain)
    for name in ("table.md", "card.md", "chart.svg", "comparison.json"):
        assert "pair_acc" not in (another / "results" / name).read_text()
    page = (another / "results/report.html").read_text()
    assert "<h4>undesirable in the data</h4><pre>No idea.</pre>" in page
    assert "<h4>desirable in the data</h4><pre>In Kiel.</pre>" in page
    # Objectives of pairs say before training that there are none.
    project.set_params(another, {"train.objective": "dpo"})
    with pytest.raises(InputError, match="dpo needs pairs; the training data have 0 pairs and 24"):
        run("train")
