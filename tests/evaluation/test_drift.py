"""KL from drawn answers: against the divergence itself, summed over all that could be drawn."""

import json
import math
from argparse import Namespace
from pathlib import Path

import naive
import numpy as np
import project
import pytest
import torch
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from torch import Tensor
from transformers import PreTrainedModel

from preference.evaluation import drift
from preference.evaluation.generation import Speaker
from preference.store.examples import Examples
from stages import samples

EOS = 0
PROMPT = np.array([5, 9, 3], dtype=np.int32)


def speaker(model: PreTrainedModel) -> Speaker:
    words = {chr(0x100 + id): id for id in range(naive.VOCABULARY)}
    return Speaker(model, Tokenizer(tokenizer_models.WordLevel(words, unk_token="?")), (EOS,))


@torch.no_grad()
def next_logps(model: PreTrainedModel, ids: list[list[int]]) -> Tensor:
    """Of every token after each of these, (sequences, vocabulary)."""
    return model(torch.tensor(ids)).logits[:, -1].double().log_softmax(-1)


def divergence(policy: PreTrainedModel, reference: PreTrainedModel) -> float:
    """KL of answers of up to two tokens: of the first, and of the second where it comes to that."""
    prompt = PROMPT.tolist()
    continued = [[*prompt, token] for token in range(naive.VOCABULARY)]

    def kl(ids: list[list[int]]) -> Tensor:
        own, other = next_logps(policy, ids), next_logps(reference, ids)
        return (own.exp() * (own - other)).sum(-1)

    first = next_logps(policy, [prompt])[0].exp()
    first[EOS] = 0
    return float(kl([prompt])[0] + (first * kl(continued)).sum())


def test_kl_is_the_divergence_within_its_error() -> None:
    policy, reference = naive.gpt2(0), naive.gpt2(1)
    count = 400
    drawn = drift.draw(speaker(policy), [PROMPT] * count, 2)
    own, other = (drift.logps(model, drawn) for model in (policy, reference))
    found = drift.metrics(drawn, drawn, own, other, 2)
    true = divergence(policy, reference)
    assert found["kl_error"] < true / 5
    assert abs(found["kl"] - true) < 4 * found["kl_error"]
    assert found["kl_low"] < true < found["kl_high"]


def test_logps_are_sums_over_the_answers_tokens() -> None:
    model = naive.llama()
    drawn = drift.draw(speaker(model), [PROMPT, PROMPT[:1]], 6)
    found = drift.logps(model, drawn)
    for place, (prompt, answer) in enumerate(zip(drawn.prompts, drawn.responses, strict=True)):
        ids, total = prompt.tolist(), 0.0
        for token in answer.tolist():
            total += float(next_logps(model, [ids])[0, token])
            ids.append(token)
        assert found[place] == pytest.approx(total, rel=1e-5)


def answers(*lengths: int) -> Examples:
    drawn = drift.draw(speaker(naive.gpt2()), [PROMPT] * len(lengths), 1)
    ids = naive.ragged([[1] * length for length in lengths])
    return Examples(drawn.index, drawn.prompts, ids, drawn.prompt_tokens)


def test_metrics_by_hand() -> None:
    own, reference = np.array([-1.0, -2.0, -4.0]), np.array([-2.0, -5.0, -9.0])
    found = drift.metrics(answers(2, 4, 6), answers(3, 3, 3), own, reference, 6)
    # Log-ratios 1, 3 and 5: mean 3, standard deviation 2; t of two degrees of freedom.
    error, t = 2 / math.sqrt(3), 4.302652729911275
    assert found == pytest.approx(
        {
            "answers": 3,
            "kl": 3.0,
            "kl_error": error,
            "kl_low": 3 - t * error,
            "kl_high": 3 + t * error,
            "answer_tokens": 4.0,
            "answer_tokens_low": 4 - t * error,
            "answer_tokens_high": 4 + t * error,
            "sft_answer_tokens": 3.0,
            "answer_tokens_change": 1.0,
            "answer_tokens_change_low": 1 - t * error,
            "answer_tokens_change_high": 1 + t * error,
            "cut": 1 / 3,
        }
    )


def test_of_no_and_of_one_answer_nothing_is_known() -> None:
    nothing = drift.draw(speaker(naive.gpt2()), [], 4)
    found = drift.metrics(nothing, nothing, np.zeros(0), np.zeros(0), 4)
    assert found.pop("answers") == 0
    assert all(map(math.isnan, found.values()))
    one = drift.metrics(answers(2), answers(2), np.ones(1), np.zeros(1), 4)
    assert (one["kl"], one["answer_tokens_change"]) == (1.0, 0.0)
    assert math.isnan(one["kl_error"])


def test_the_stage_measures_and_changes_no_answer(
    another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    table, metrics = another / "data/samples.parquet", another / "results/metrics/samples.json"
    project.set_params(another, {"samples.prompts": 2, "samples.max_new_tokens": 12})

    def sampled(prompts: int) -> tuple[bytes, dict[str, float | None]]:
        project.set_params(another, {"samples.kl_prompts": prompts})
        AcceleratorState._reset_state(True)
        samples.main(Namespace())
        return table.read_bytes(), json.loads(metrics.read_text())

    with_answers, found = sampled(5)
    assert sampled(5) == (with_answers, found)
    assert found["answers"] == 5
    for key in ("kl", "answer_tokens", "sft_answer_tokens"):
        assert found[key] is not None
    without, none = sampled(0)
    assert without == with_answers
    assert (none["answers"], none["kl"]) == (0, None)
