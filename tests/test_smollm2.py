"""SmolLM2-135M-Instruct from its GGUF file: a real model through every part."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import data_helpers
import naive
import numpy as np
import project
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from preference.core.params import Model
from preference.model import base, batches, probe
from preference.model.batches import Layout
from preference.model.probe import Abilities
from preference.model.scorer import ResponseLogps
from preference.report.analysis import read_curve

pytestmark = pytest.mark.real
FILE = Path(os.environ.get("SMOLLM2", "none"))
SYSTEM = {"role": "system", "content": "You are a guide to a small town. Be brief and kind."}
QUESTIONS = (
    ("Where can I buy fresh bread?", "At the bakery beside the bridge.", "I do not sell bread."),
    ("Is the museum open on Mondays?", "No, it is closed; come on Tuesday.", "Mondays are days."),
    ("How do I get to the old mill?", "Follow the river for a mile.", "You cannot, go home."),
    ("What should I see first?", "The market square, in the morning.", "Nothing here, really."),
    ("Can I swim in the lake?", "Yes, at the north shore.", "Water is wet. Who knows."),
)
# What the precision leaves of a sum over some ten tokens.
FLOAT32, BFLOAT16 = 1e-4, 0.05


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base that fetch-model makes of the file."""
    torch.set_num_threads(2)
    out = tmp_path_factory.mktemp("smollm2") / "base"
    base.create_base(Model(base=str(FILE), revision=None), 0, out, [])
    return out


def dialogues() -> list[dict[str, Any]]:
    """Of one question, and of two with the first one answered."""
    rows = []
    for place, (asked, better, worse) in enumerate(QUESTIONS):
        earlier, answered, _ = QUESTIONS[place - 1]
        first = [SYSTEM, {"role": "user", "content": earlier}]
        more = [*first, {"role": "assistant", "content": answered}]
        for before in ([], more):
            prompt = [*before, {"role": "user", "content": asked}]
            rows.append({"prompt": prompt, "chosen": better, "rejected": worse})
    return rows


def test_the_base_is_the_model_in_the_file(directory: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(FILE.parent, gguf_file=FILE.name).float().eval()
    ours = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizers = (
        AutoTokenizer.from_pretrained(FILE.parent, gguf_file=FILE.name),
        AutoTokenizer.from_pretrained(directory),
    )
    for row in dialogues():
        ids = [
            t.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
            for t in tokenizers
        ]
        assert ids[0] == ids[1]
    with torch.no_grad():
        one, other = (model(torch.tensor(ids[:1])).logits for model in (theirs, ours))
    torch.testing.assert_close(one, other)


def test_chat_answers_as_transformers_do(directory: Path, tmp_path: Path) -> None:
    asked = [question for question, *_ in QUESTIONS[:3]]
    data_helpers.write_params(tmp_path / "params.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "tools.chat", "--model", str(directory), "--max-new-tokens", "40"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project.ROOT)},
        input="\n".join(asked).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    history, expected = [], ""
    for question in asked:
        history.append({"role": "user", "content": question})
        ids = tokenizer.apply_chat_template(
            history, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        whole = model.generate(**ids, do_sample=False, max_new_tokens=40)
        text = tokenizer.decode(whole[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        history.append({"role": "assistant", "content": text.strip()})
        expected += f"{text.strip()}\n"
    assert done.stdout.decode() == expected


@pytest.mark.parametrize(("precision", "limit"), [("no", FLOAT32), ("bf16", BFLOAT16)])
@pytest.mark.parametrize("layout", ["plain", "shared", "packed"])
def test_every_layout_gives_the_models_own_numbers(
    layout: Layout, precision: str, limit: float, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "base").symlink_to(directory)
    pairs = data_helpers.prepared(dialogues(), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    expected = naive.score(model, pairs)
    scorer = ResponseLogps(model, Abilities(layout, bare_output=True)).eval()
    items = [np.arange(2 * pair, 2 * pair + 2) for pair in range(len(pairs.index.pairs))]
    batch = batches.make(pairs, items, layout)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = scorer(batch).double().numpy()
    np.testing.assert_allclose(found, expected.logps, rtol=limit)
    assert batch.counts.tolist() == expected.tokens.tolist()


def test_the_probe_grants_what_is_exact(directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    scorer = ResponseLogps(model, probe.PLAIN)
    found = probe.choose(scorer, 128, "smollm2", "no")
    assert (found.layout, found.bare_output) == ("packed", True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_from_the_file_to_the_report(precision: str, tmp_path: Path) -> None:
    place = project.copy(tmp_path)
    project.set_params(
        place,
        {
            "model.base": str(FILE),
            "data.template": "chat",
            "data.train_pairs": 40,
            "data.eval_pairs": 16,
            "data.demo.train_rows": 60,
            "data.demo.test_rows": 20,
            "scoring.length_normalize": False,
            "sft.learning_rate": 2e-5,
            "train.beta": 0.1,
            "train.learning_rate": 2e-5,
            "train.epochs": 1,
            "train.batch_size": 4,
            "samples.prompts": 2,
            "samples.max_new_tokens": 16,
            "precision": precision,
        },
    )
    assert project.repro(place) == project.STAGE_NAMES
    losses = [loss for _, loss in read_curve(place / "results/curves/train", "steps", "loss")]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    metrics = json.loads((place / "results/metrics/final.json").read_text())
    prepared = json.loads((place / "results/metrics/prepare.json").read_text())
    assert (prepared["train"]["template"], prepared["train"]["pairs"]) == ("chat", 40)
    assert (metrics["precision"], metrics["base_model"]) == (precision, "file")
    policy = AutoModelForCausalLM.from_pretrained(place / "models/policy")
    assert policy.num_parameters() > 130e6
    done = subprocess.run(
        [sys.executable, "-m", "stages.final_eval", "--policy", "models/policy"],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    again = json.loads(done.stdout)
    assert again["margin"] == pytest.approx(metrics["margin"], rel=1e-6)
    assert again["pair_acc"] == metrics["pair_acc"]
