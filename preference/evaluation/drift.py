"""How far training moved the policy: answers that it draws, scored by it and by the reference."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from preference.evaluation.generation import Speaker, drawn
from preference.evaluation.intervals import mean_interval
from preference.model import batches
from preference.model.abilities import PLAIN
from preference.model.scorer import ResponseLogps
from preference.store.examples import Examples, Ragged
from preference.store.index import Index
from preference.store.scores import Metrics, mean

TOGETHER = 2048  # positions that are scored at a time
NO_IDS = np.zeros(0, dtype=np.int32)


def draw(speaker: Speaker, prompts: Sequence[np.ndarray], max_new_tokens: int) -> Examples:
    """A response to each prompt, drawn from the model's own distribution, at temperature 1."""
    found = list(drawn(speaker, prompts, max_new_tokens))
    asked, answers = (
        Ragged.of(np.concatenate([NO_IDS, *part]), np.array([len(ids) for ids in part], dtype=int))
        for part in ([prompt for prompt, _ in found], [answer for _, answer in found])
    )
    places = np.arange(len(found))
    index = Index(
        rows=places,
        prompt_of=places,
        pairs=np.zeros((0, 2), dtype=int),
        labels=np.full(len(found), -1),
        weights=np.ones(len(found)),
    )
    return Examples(index, asked, answers, asked.lengths)


@torch.no_grad()
def logps(model: PreTrainedModel, answers: Examples) -> np.ndarray:
    """The summed log-probability of each answer in nats, (answers,)."""
    scorer, found = ResponseLogps(model, PLAIN), np.zeros(len(answers.responses))
    each = Ragged.even(np.arange(len(found))[:, None])
    sizes = batches.shapes(answers, each, PLAIN.layout) if len(found) else np.zeros((0, 2), int)
    for group in batches.micro_batches(sizes, TOGETHER, PLAIN.layout):
        batch = batches.make(answers, [each[item] for item in group], PLAIN.layout)
        found[group] = scorer(batch.to(model.device)).double().cpu().numpy()
    return found


def metrics(
    policy: Examples, sft: Examples, own: np.ndarray, reference: np.ndarray, max_new_tokens: int
) -> Metrics:
    """The KL divergence from the reference, and how long answers are, of as many prompts.

    `kl` is the mean of log p(answer | policy) - log p(answer | reference) over answers that the
    policy drew, in nats an answer: KL(policy || reference) of what both write up to the length at
    which answers are cut. `kl_error` is its standard error. `answer_tokens` is the mean length, of
    which `answer_tokens_change` is from SFT's to the same prompts. The ends of 95% intervals have
    `_low` and `_high`. `cut` is the share of answers that the limit ended, and nothing else.

    Args:
        policy: the answers that the policy drew.
        sft: those that the model after SFT drew.
        own: log-probabilities of the policy's answers by itself, (answers,).
        reference: the same by the model after SFT, (answers,).
    """
    ratios, lengths, before = own - reference, policy.responses.lengths, sft.responses.lengths
    change = (lengths - before).astype(float)
    kl, longer = mean_interval(ratios), mean_interval(change)
    length = mean_interval(lengths.astype(float))
    count = len(ratios)
    return {
        "answers": count,
        "kl": mean(ratios),
        "kl_error": float(ratios.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan,
        "kl_low": kl.low,
        "kl_high": kl.high,
        "answer_tokens": mean(lengths),
        "answer_tokens_low": length.low,
        "answer_tokens_high": length.high,
        "sft_answer_tokens": mean(before),
        "answer_tokens_change": mean(change),
        "answer_tokens_change_low": longer.low,
        "answer_tokens_change_high": longer.high,
        "cut": mean(lengths >= max_new_tokens),
    }
