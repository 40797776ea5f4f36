"""SmolLM2-135M-Instruct from its GGUF file: a real model through every part."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import data_helpers
import naive
import numpy as np
import project
import pytest
import sessions
import settings
import torch
from gguf_cases import LlamaCpp
from model_cases import assert_same_weights
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from preference.core.data_params import Demo
from preference.core.params import Model
from preference.data.sources import demo
from preference.evaluation.scoring import score
from preference.losses import dpo, named
from preference.model import base, batches, loading, probe
from preference.model.abilities import PLAIN, Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps, open_model
from preference.report.analysis import read_curve
from preference.training import loop
from tools import export

pytestmark = pytest.mark.real
FILE = project.ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
# A system prompt, what was said (the user began), and two answers to the last question.
DIALOGUES: list[tuple[str, list[str], str, str]] = [
    (
        "You are a guide to a small town. Be brief and kind.",
        ["Where can I buy fresh bread?"],
        "At the bakery beside the bridge; it opens at seven, and the rye loaf is the one to try.",
        "I do not sell bread.",
    ),
    (
        "You are a guide to a small town. Be brief and kind.",
        ["Is the museum open today?", "Not on Mondays, I am sorry.", "And tomorrow?"],
        "Yes, from ten to five. On Tuesdays the tower is open as well.",
        "Mondays are days. Tuesdays are days, too, and nobody can say when anything opens.",
    ),
    (
        "You explain mathematics to children of ten.",
        ["What is a prime number?"],
        "A number above 1 that only 1 and itself divide: 2, 3, 5, 7, 11 and so on for ever.",
        "Any odd number.",
    ),
    (
        "You explain mathematics to children of ten.",
        [
            "What is 12 x 12?",
            "144. Ten twelves are 120, two more make 24, together 144.",
            "So what is 12 x 13?",
            "One twelve more: 144 + 12 = 156.",
            "And 13 x 13?",
        ],
        "Thirteen more than 156, so 169.",
        "It is 1313.",
    ),
    (
        "You are a careful programmer. Answer with code first, then one sentence.",
        ["How do I reverse a list in Python?"],
        "```python\nitems = items[::-1]\n```\nThe slice walks the list from its end.",
        "You can not.",
    ),
    (
        "You are a careful programmer. Answer with code first, then one sentence.",
        [
            "Count the words of a text.",
            "```python\nlen(text.split())\n```\n`split` without arguments cuts at any white space.",
            "Now how often each word comes.",
        ],
        "```python\nfrom collections import Counter\nCounter(text.split())\n```\nIt is a dict.",
        "```\nlen(text)\n```",
    ),
    (
        "Translate what the user writes into German.",
        ["Good morning!", "Guten Morgen!", "The bridge is closed, take the ferry."],
        "Die Brücke ist gesperrt, nehmen Sie die Fähre.",
        "The bridge is closed.",
    ),
    (
        "You help in a kitchen. Quantities in grams, temperatures in °C.",
        ["How much rice do two people need?", "About 150 g, dry.", "And water? 🍚"],
        "300 ml, twice the rice; bring it to the boil, then 12 minutes on low heat, covered.",
        "Some water. Rice needs water, and water is what rice needs, so take as much as you like.",
    ),
    (
        "You are a doctor's assistant. You never diagnose; you say when to see the doctor.",
        ["I have had a cough for four weeks."],
        "That is long enough to have it looked at. Shall I find you an appointment this week?",
        "It is surely nothing, forget it.",
    ),
    (
        "You keep the user's shopping list and repeat it after every change.",
        [
            "Add milk and eggs.",
            "Milk, eggs.",
            "Add bread.",
            "Milk, eggs, bread.",
            "No eggs after all.",
        ],
        "Milk, bread.",
        "Milk, eggs, bread, eggs.",
    ),
]
PAIRS = 40
SMALL: dict[str, object] = {
    "model.base": str(FILE),
    "data.template": "chat",
    "data.train_pairs": 30,
    "data.eval_pairs": 16,
    "data.demo.train_rows": 40,
    "data.demo.test_rows": 20,
    "scoring.length_normalize": False,
    "sft.learning_rate": 2.0e-5,
    "train.beta": 0.1,
    "train.learning_rate": 1.0e-5,
    "train.epochs": 1,
    "samples.prompts": 2,
    "samples.max_new_tokens": 16,
}
# What the precision leaves of a sum over some ten tokens.
FLOAT32, BFLOAT16 = 1e-4, 0.05


class Tuned(NamedTuple):
    """What DPO does: the loss of the first step, that of all pairs after it, and their rewards."""

    first: float
    last: float
    rewards: np.ndarray


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base that fetch-model makes of the file."""
    torch.set_num_threads(2)
    out = tmp_path_factory.mktemp("smollm2") / "base"
    base.create_base(Model(base=str(FILE), revision=None), 0, out, [])
    return out


def dialogues() -> list[dict[str, Any]]:
    """As a file of chat messages has them."""
    rows = []
    for system, said, better, worse in DIALOGUES:
        roles = ("user", "assistant")
        turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
        prompt = [{"role": "system", "content": system}, *turns]
        rows.append({"prompt": prompt, "chosen": better, "rejected": worse})
    return rows


def test_the_base_is_the_model_in_the_file(directory: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(
        FILE.parent,
        gguf_file=FILE.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()
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


def test_dialogues_are_laid_out_by_the_models_own_template(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(directory)
    pairs = data_helpers.prepared(dialogues(), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for place, row in enumerate(dialogues()):
        for side, answer in enumerate((row["chosen"], row["rejected"])):
            whole = [*row["prompt"], {"role": "assistant", "content": answer}]
            expected = tokenizer.apply_chat_template(whole, return_dict=False)
            asked, answered = naive.sequence(pairs, 2 * place + side)
            assert asked == tokenizer.apply_chat_template(
                row["prompt"], add_generation_prompt=True, return_dict=False
            )
            found = asked + answered
            assert found == expected[: len(found)]
            # After the end of the turn the template breaks the line.
            assert tokenizer.decode(expected[len(found) :]) in ("", "\n")


def chat(where: Path, asked: list[str], *options: str) -> str:
    """What the chat prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.chat", *options],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(project.ROOT)},
        input="\n".join(asked).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def replies(directory: Path, asked: list[str], max_new_tokens: int) -> str:
    """What transformers answer to each question, with those before it in view."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    history, printed = [], ""
    for question in asked:
        history.append({"role": "user", "content": question})
        ids = tokenizer.apply_chat_template(
            history, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        whole = model.generate(**ids, do_sample=False, max_new_tokens=max_new_tokens)
        text = tokenizer.decode(whole[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        history.append({"role": "assistant", "content": text.strip()})
        printed += f"{text.strip()}\n"
    return printed


def test_chat_answers_as_transformers_do(directory: Path, tmp_path: Path) -> None:
    asked = [said[0] for _, said, *_ in DIALOGUES[:3]]
    data_helpers.write_params(tmp_path / "params.yaml")
    said = chat(tmp_path, asked, "--model", str(directory), "--max-new-tokens", "40")
    assert said == replies(directory, asked, 40)


def test_llama_cpp_reads_the_exported_file_as_the_same_model(
    directory: Path, tmp_path: Path
) -> None:
    export.write(directory, tmp_path, "gguf", "fp32")
    llama = LlamaCpp(tmp_path / "base-fp32.gguf", 512)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for row in dialogues()[:4]:
        text = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(text).input_ids
        count, found = llama.asked(text, model.config.vocab_size)
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(0).numpy()
        assert count == len(ids)
        np.testing.assert_allclose(found, expected, atol=1e-3)


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
    scorer = ResponseLogps(model, PLAIN)
    found = probe.choose(scorer, 128, "smollm2", "no")
    assert (found.layout, found.bare_output) == ("packed", True)


def tuned(base: Path, precision: str, where: Path) -> Tuned:
    """DPO for an epoch on some of the demo's pairs, in sums."""
    rows = demo.rows("train", Demo(train_rows=PAIRS, test_rows=1))
    (where / "base").symlink_to(base)
    pairs = data_helpers.prepared(
        [{"chosen": chosen, "rejected": rejected} for chosen, rejected in rows],
        where,
        template="chat",
    )
    session = sessions.make(1344, precision=precision)
    scorer = open_model(base, pairs.longest, session, to_train=True)
    reference = score(scorer, pairs, session, "reference")
    steps = settings.train(beta=0.1, learning_rate=1e-5, batch_size=4)
    loop.fit(
        scorer,
        named("dpo").task(pairs, reference, steps, False, 1),
        steps,
        session,
        curves=where / "curves",
        evaluate=lambda model: {"pair_acc": 0.5},
    )
    after = score(scorer, pairs, session, "policy")
    rewards = np.subtract(*(steps.beta * (after.logps - reference.logps))[pairs.index.pairs].T)
    first = read_curve(where / "curves", "steps", "loss")[0][1]
    return Tuned(first, dpo.metrics(after, reference, steps, False)["loss"], rewards)


def test_dpo_lowers_the_loss_alike_in_float32_and_bfloat16(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {}
    for precision in ("no", "bf16"):
        (tmp_path / precision).mkdir()
        found[precision] = tuned(directory, precision, tmp_path / precision)
        # It begins as its own reference.
        assert found[precision].first == pytest.approx(np.log(2), abs=1e-3)
        assert found[precision].last < np.log(2) - 0.05
    one, other = found["no"], found["bf16"]
    assert one.last == pytest.approx(other.last, abs=0.05)
    assert np.corrcoef(one.rewards, other.rewards)[0, 1] > 0.95


def test_from_the_file_to_the_report(directory: Path, tmp_path: Path) -> None:
    place = project.copy(tmp_path)
    project.set_params(place, SMALL)
    assert project.repro(place) == project.STAGE_NAMES
    losses = [loss for _, loss in read_curve(place / "results/curves/train", "steps", "loss")]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    metrics = json.loads((place / "results/metrics/final.json").read_text())
    prepared = json.loads((place / "results/metrics/prepare.json").read_text())
    assert (prepared["train"]["template"], prepared["train"]["pairs"]) == ("chat", 30)
    assert metrics["precision"] == "fp32"
    assert metrics["base_model"].startswith("SmolLM2-135M-Instruct.Q4_1.gguf (sha256 b179c9523d0e")
    # DVC made the base that the other tests are about.
    assert_same_weights(*(loading.load(base) for base in (place / "models/base", directory)))
    policy = AutoModelForCausalLM.from_pretrained(place / "models/policy")
    assert policy.num_parameters() == 134_515_008
    said = project.run(place, "python", "-m", "stages.final_eval", "--policy", "models/policy")
    # The same numbers, to the last bit.
    assert json.loads(said.stdout) == metrics
    answered = chat(place, ["Where can I buy wool?"], "--max-new-tokens", "20")
    assert answered == replies(place / "models/policy", ["Where can I buy wool?"], 20)
