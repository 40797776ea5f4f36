"""The pipeline as its user runs it: results, bad input, models and data of one's own."""

import gzip
import hashlib
import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import naive
import project
import pytest
import torch
from model_cases import make_adapter
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from preference.core.errors import InputError
from preference.model import directories, loading
from preference.store import examples, scores
from stages import final_eval, sft_warmup, train


def metrics(where: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((where / f"results/metrics/{name}.json").read_text())
    return values


def hashes(where: Path) -> dict[str, str]:
    """Every output of every stage, by content."""
    return {
        str(path.relative_to(where)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("data", "models", "results")
        for path in sorted((where / folder).rglob("*"))
        if path.is_file()
    }


def test_metrics_hold_the_contracts_keys(finished: Path) -> None:
    common = {"pairs", "pair_acc", "margin", "pair_acc_low", "pair_acc_high", "precision"}
    for name in ("baseline", "sft", "final"):
        values = metrics(finished, name)
        assert common <= set(values)
        assert values["pairs"] == 40
        assert values["precision"] == "fp32"
    assert {"loss", "dpo_acc", "reward"} <= set(metrics(finished, "final"))
    prepared = metrics(finished, "prepare")
    assert (prepared["train"]["pairs"], prepared["test"]["pairs"]) == (60, 40)


def test_metrics_say_what_they_were_computed_with(finished: Path) -> None:
    for name in ("baseline", "sft", "final"):
        values = metrics(finished, name)
        known = ("device", "precision", "torch", "transformers", "data", "base_model")
        assert [values[key] for key in known] == [
            "cpu",
            "fp32",
            "2.13.0",
            "5.23.0",
            "demo",
            "scratch",
        ]


def test_final_metrics_are_those_of_the_last_epoch(finished: Path) -> None:
    values = metrics(finished, "final")
    for name in ("pair_acc", "margin", "loss", "dpo_acc", "reward"):
        curve = finished / f"results/curves/train/epochs/plots/metrics/{name}.tsv"
        step, value = curve.read_text().splitlines()[-1].split("\t")
        assert step == "2"
        assert float(value) == pytest.approx(values[name], rel=1e-6)


def test_epoch_zero_of_training_is_the_model_after_sft(finished: Path) -> None:
    curve = finished / "results/curves/train/epochs/plots/metrics/margin.tsv"
    step, value = curve.read_text().splitlines()[1].split("\t")
    assert step == "0"
    assert float(value) == metrics(finished, "sft")["margin"]


def test_saved_models_load_with_transformers_and_score_as_the_table_says(finished: Path) -> None:
    test = examples.read(finished / "data/prepared/test.parquet")
    found = scores.read(finished / "data/scores/final.parquet")
    model = AutoModelForCausalLM.from_pretrained(finished / "models/policy").eval()
    prompt, response = naive.sequence(test, 0)
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        log_p = model(ids).logits[0, :-1].log_softmax(-1)
    token_logps = log_p.gather(1, ids[0, 1:, None])[len(prompt) - 1 :]
    assert found.logps[0] == pytest.approx(float(token_logps.sum()), rel=1e-4)
    assert found.tokens[0] == len(token_logps)


def test_dvc_shows_metrics_params_and_plots(finished: Path) -> None:
    shown = json.loads(project.run(finished, "dvc", "metrics", "show", "--json").stdout)
    files = shown[""]["data"]
    assert set(files) == {f"results/headline/{name}.json" for name in ("baseline", "sft", "final")}
    for name in ("baseline", "sft", "final"):
        values = metrics(finished, name)
        headline = {key: values[key] for key in ("pair_acc", "margin")}
        assert files[f"results/headline/{name}.json"]["data"] == headline
        # The whole file, by its name.
        own = f"results/metrics/{name}.json"
        found = project.run(finished, "dvc", "metrics", "show", "--json", own).stdout
        assert json.loads(found)[""]["data"][own]["data"] == values
    table = project.run(finished, "dvc", "metrics", "show").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "fetch-data" in project.run(finished, "dvc", "dag").stdout
    plots = project.run(finished, "dvc", "plots", "show", "--json")
    assert plots.returncode == 0, plots.stderr
    drawn = json.loads(plots.stdout)
    assert "training loss by step" in drawn["data"]
    before = (finished / "params.yaml").read_bytes()
    project.set_params(finished, {"train.beta": 0.7})
    diff = json.loads(project.run(finished, "dvc", "params", "diff", "--json").stdout)
    (finished / "params.yaml").write_bytes(before)
    assert diff["params.yaml"]["train.beta"]["old"] == 3.0
    assert diff["params.yaml"]["train.beta"]["new"] == 0.7


BAD: dict[str, tuple[dict[str, object], str, list[str]]] = {
    "unknown param": ({"train.betta": 1}, "train", ["params.yaml", "train.betta", "train.beta?"]),
    "ill-typed param": ({"sft.epochs": "two"}, "sft-warmup", ["params.yaml", "sft.epochs", "two"]),
    "missing file": ({"data.source": "./none.jsonl"}, "fetch-data", ["data.source", "none.jsonl"]),
    "no JSON": ({"data.source": "broken"}, "fetch-data", ["test.jsonl, line 2", "not JSON"]),
    "no column": (
        {"data.source": "lacking"},
        "fetch-data",
        ["test.jsonl, line 1", "columns chosen"],
    ),
    "no usable pair": ({"data.source": "empty"}, "prepare", ["test.parquet", "usable example"]),
    "unpinned Hub id": (
        {"data.source": "Anthropic/hh-rlhf"},
        "fetch-data",
        ["data.source", "data.revision", "40 hex digits"],
    ),
    "no network": (
        {"data.source": "Anthropic/hh-rlhf", "data.revision": "0" * 40},
        "fetch-data",
        ["Anthropic/hh-rlhf", "cannot be fetched", "Check the network"],
    ),
    "model too short": ({"data.max_length": 200}, "baseline-eval", ["data.max_length", "160"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_message_and_leaves_earlier_results(case: str, another: Path) -> None:
    changes, failing, words = BAD[case]
    prompt = "\n\nHuman: a\n\nAssistant:"
    good = json.dumps({"chosen": f"{prompt} b", "rejected": f"{prompt} c"}) + "\n"
    for folder, lines in (
        ("broken", good + "{not json\n"),
        ("lacking", '{"chosen": "a"}\n'),
        ("empty", '{"chosen": "same", "rejected": "same"}\n'),
    ):
        (another / folder).mkdir()
        (another / folder / "train.jsonl").write_text(good * 3)
        (another / folder / "test.jsonl").write_text(lines)
    if case == "model too short":
        long = {"data.demo.lengths": "hh-rlhf", "data.train_pairs": 8, "data.eval_pairs": 8}
        changes = changes | long
    before = hashes(another)
    project.set_params(another, changes)
    done = project.run(another, "dvc", "repro", HF_HUB_OFFLINE="1")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    for word in words:
        assert word in said[0]
    assert "Traceback" not in done.stderr
    assert f"failed to reproduce '{failing}'" in done.stderr
    after = hashes(another)
    finished_stages = {"no usable pair": ("data/raw",), "model too short": ("data", "results")}
    for name, content in before.items():
        if not name.startswith(finished_stages.get(case, ("nothing",))):
            assert after[name] == content, f"{name} was touched"
    assert set(before) == set(after)


@pytest.mark.parametrize("stage", [sft_warmup, train])
def test_an_optimizer_that_is_not_here_is_refused_before_any_work(
    stage: ModuleType, another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_model(*args: object, **more: object) -> None:
        raise AssertionError("there was work")

    monkeypatch.chdir(another)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    monkeypatch.setattr("preference.model.scorer.open_model", open_model)
    project.set_params(another, {"train.optimizer": "adamw_8bit"})
    before = hashes(another)
    with pytest.raises(InputError, match=r"train\.optimizer: adamw_8bit needs bitsandbytes"):
        stage.main(Namespace())
    assert hashes(another) == before


def test_any_saved_model_is_evaluated_against_any_reference(another: Path) -> None:
    before = hashes(another)
    command = ("python", "-m", "stages.final_eval", "--policy", "models/policy")
    done = project.run(another, *command, "--reference", "models/sft", "--output", "out.json")
    assert done.returncode == 0, done.stderr
    found, expected = json.loads((another / "out.json").read_text()), metrics(another, "final")
    assert found == expected
    printed = project.run(another, *command, "--reference", "models/base")
    assert json.loads(printed.stdout)["loss"] != expected["loss"]
    assert hashes(another) == before
    with pytest.raises(InputError, match="@COMMIT"):
        directories.locate_pinned("gpt2", "--reference")


def test_adapters_and_a_tokenizer_with_one_more_token_are_evaluated(
    another: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(another)
    caplog.set_level(logging.INFO)
    adapter = make_adapter(Path("models/base"), Path("adapter"))
    merged = loading.load(adapter)
    merged.save_pretrained("merged")
    # As TRL saves a model: with a token for padding, and an embedding for it.
    tokenizer = AutoTokenizer.from_pretrained("models/base")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    merged.resize_token_embeddings(len(tokenizer))
    for part in (merged, tokenizer):
        part.save_pretrained("padded")

    def evaluated(policy: str, reference: str) -> dict[str, Any]:
        """By the stage in this process, which has what takes longest to start."""
        parser = ArgumentParser()
        final_eval.arguments(parser)
        caplog.clear()
        options = ["--policy", policy, "--reference", reference, "--output", "out.json"]
        final_eval.main(parser.parse_args(options))
        said = "adapter: an adapter, merged into its base models/base" in caplog.text
        assert said == ("adapter" in (policy, reference))
        return json.loads(Path("out.json").read_text())

    expected = evaluated("merged", "models/base")
    assert abs(expected["reward"]) > 0.01
    assert evaluated("adapter", "models/base")["reward"] == pytest.approx(expected["reward"])
    padded = evaluated("padded", "models/base")["reward"]
    assert padded == pytest.approx(expected["reward"], abs=1e-4)
    swapped = evaluated("models/base", "adapter")
    assert swapped["reward"] == pytest.approx(-expected["reward"], abs=1e-5)


@pytest.mark.long
def test_own_files_and_a_directory_with_only_config_and_tokenizer(another: Path) -> None:
    own = another / "own"
    own.mkdir()
    lines = []
    for i in range(40):
        prompt = f"\n\nHuman: what is {i}?\n\nAssistant:"
        lines.append(json.dumps({"chosen": f"{prompt} {i}", "rejected": f"{prompt} no {i * i}"}))
    lines.insert(3, json.dumps({"chosen": "x", "rejected": "x"}))
    with gzip.open(own / "train.jsonl.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    with gzip.open(own / "test.jsonl.gz", "wt") as file:
        file.write("\n".join(lines[:21]))
    llama_directory(another / "llama", lines)
    project.set_params(
        another,
        {
            "data.source": "own",
            "data.train_pairs": 1000,
            "data.eval_pairs": None,
            "model.base": "llama",
            "train.objective": "kto",
            "train.epochs": 1,
            "scoring.length_normalize": False,
        },
    )
    project.repro(another, "final-eval")
    prepared = metrics(another, "prepare")
    assert prepared["train"]["pairs"] == 40
    assert prepared["test"] | {"pairs": 20, "rows_read": 21} == prepared["test"]
    assert prepared["test"]["skipped_rows"] == [3]
    final = metrics(another, "final")
    keys = {"loss", "label_acc", "mean_reward", "desired_reward", "undesired_reward", "pair_margin"}
    assert keys <= set(final)
    model = AutoModelForCausalLM.from_pretrained(another / "models/policy")
    assert isinstance(model, LlamaForCausalLM)


def llama_directory(path: Path, texts: list[str]) -> None:
    """A model's config and its tokenizer, which has no token for padding; no weights."""
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="</s>")
    assert tokenizer.pad_token is None
    tokenizer.save_pretrained(path)
    LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(path)


def test_bf16_differs_from_fp32_by_less_than_the_interval(another: Path, finished: Path) -> None:
    project.set_params(another, {"precision": "bf16"})
    project.repro(another, "baseline-eval", "final-eval")
    for name in ("baseline", "final"):
        found, exact = metrics(another, name), metrics(finished, name)
        assert found["precision"] == "bf16"
        assert found["margin"] != exact["margin"]
        for metric in ("pair_acc", "margin"):
            half = (exact[f"{metric}_high"] - exact[f"{metric}_low"]) / 2
            assert abs(found[metric] - exact[metric]) < half, f"{name}: {metric}"
