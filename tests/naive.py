"""What the pipeline computes, written the slow and obvious way: one sequence at a time."""

import math

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from preference.store.tables import Pairs, Ragged, Scores

VOCABULARY = 97
# Small, with weights large enough for outputs to differ; for Llama and its kin.
LLAMA_SIZE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def gpt2(seed: int = 0, positions: int = 64) -> PreTrainedModel:
    """A tiny GPT-2 with random weights large enough for its outputs to differ."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_layer=2,
        n_head=2,
        n_embd=16,
        n_positions=positions,
        initializer_range=0.3,
    )
    return GPT2LMHeadModel(config).eval()


def llama(seed: int = 0, positions: int = 64) -> PreTrainedModel:
    """A tiny Llama: rotary positions, grouped keys, untied output layer."""
    torch.manual_seed(seed)
    config = LlamaConfig(**LLAMA_SIZE, max_position_embeddings=positions)
    return LlamaForCausalLM(config).eval()


def ragged(rows: list[list[int]]) -> Ragged:
    lengths = [len(row) for row in rows]
    values = np.array([token for row in rows for token in row], dtype=np.int32)
    return Ragged(values, np.append(0, np.cumsum(lengths)).astype(np.int64))


def cut(prompt: list[int], response: list[int], max_length: int) -> tuple[list[int], list[int]]:
    """The prompt and the response that `max_length` leaves: the beginning goes."""
    kept = (prompt + response)[-max_length:]
    response = response[-max_length:]
    return kept[: len(kept) - len(response)], response


def make_pairs(texts: list[tuple[list[int], list[int], list[int]]], max_length: int) -> Pairs:
    """Prepared pairs from token lists of prompt, chosen and rejected."""
    sides = [
        [cut(prompt, response, max_length) for response in responses]
        for prompt, *responses in texts
    ]
    prompts = [max((side[0] for side in pair), key=len) for pair in sides]
    return Pairs(
        rows=np.arange(len(texts)),
        prompt=ragged(prompts),
        chosen=ragged([pair[0][1] for pair in sides]),
        rejected=ragged([pair[1][1] for pair in sides]),
        chosen_prompt_tokens=np.array([len(pair[0][0]) for pair in sides], dtype=np.int32),
        rejected_prompt_tokens=np.array([len(pair[1][0]) for pair in sides], dtype=np.int32),
    )


def random_texts(
    count: int, seed: int = 0, longest: int = 12
) -> list[tuple[list[int], list[int], list[int]]]:
    """Token lists of prompt, chosen and rejected, of random lengths from 1 on."""
    generator = np.random.default_rng(seed)
    return [
        (
            generator.integers(VOCABULARY, size=generator.integers(1, longest + 1)).tolist(),
            generator.integers(VOCABULARY, size=generator.integers(2, longest + 1)).tolist(),
            generator.integers(VOCABULARY, size=generator.integers(2, longest + 1)).tolist(),
        )
        for _ in range(count)
    ]


def response_logp(
    model: PreTrainedModel, prompt: list[int], response: list[int]
) -> tuple[Tensor, int]:
    """Summed log-probability of one response after one prompt, and its number of scored tokens."""
    ids = prompt + response
    log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    scored = [at for at in range(len(prompt), len(ids)) if at > 0]
    terms = [log_p[at - 1, ids[at]] for at in scored]
    return torch.stack(terms).sum(), len(terms)


def score(model: PreTrainedModel, pairs: Pairs) -> Scores:
    """All responses by themselves, in the model's own precision."""
    found: dict[str, list[float]] = {"chosen": [], "rejected": []}
    counts: dict[str, list[int]] = {"chosen": [], "rejected": []}
    for pair in range(len(pairs)):
        prompt = pairs.prompt[pair].tolist()
        for side in ("chosen", "rejected"):
            kept = int(getattr(pairs, f"{side}_prompt_tokens")[pair])
            response = getattr(pairs, side)[pair].tolist()
            with torch.no_grad():
                logp, tokens = response_logp(model, prompt[len(prompt) - kept :], response)
            found[side].append(float(logp))
            counts[side].append(tokens)
    return Scores(
        pairs.rows,
        np.array(found["chosen"]),
        np.array(counts["chosen"]),
        np.array(found["rejected"]),
        np.array(counts["rejected"]),
    )


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log(1 + torch.exp(-x))


def train_dpo(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    pairs: Pairs,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    warmup: int,
    max_norm: float,
    beta: float,
    normalize: bool,
) -> list[float]:
    """Full-batch DPO with four forward passes a pair and a hand-written AdamW; losses by step."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    losses = []
    for step in range(1, steps + 1):
        policy.zero_grad()
        terms = []
        for pair in range(len(pairs)):
            prompt = pairs.prompt[pair].tolist()
            margin = torch.zeros((), dtype=torch.float64)
            for side, sign in (("chosen", 1), ("rejected", -1)):
                kept = int(getattr(pairs, f"{side}_prompt_tokens")[pair])
                response = getattr(pairs, side)[pair].tolist()
                ours, tokens = response_logp(policy, prompt[len(prompt) - kept :], response)
                with torch.no_grad():
                    theirs, _ = response_logp(reference, prompt[len(prompt) - kept :], response)
                margin = margin + sign * (ours - theirs) / (tokens if normalize else 1)
            terms.append(-log_sigmoid(beta * margin))
        loss = torch.stack(terms).mean()
        loss.backward()
        losses.append(float(loss))
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        done = step - 1
        factor = done / warmup if done < warmup else (steps - done) / max(1, steps - warmup)
        rate = learning_rate * factor
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                clipped = g * min(1.0, max_norm / (norm + 1e-6))
                p.mul_(1 - rate * weight_decay)
                m.mul_(0.9).add_(0.1 * clipped)
                v.mul_(0.999).add_(0.001 * clipped**2)
                p.sub_(rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))
    return losses
