"""What the pipeline computes, written the slow and obvious way: one sequence at a time."""

import math
from collections.abc import Callable, Sequence

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

from preference.store.examples import Examples, Ragged
from preference.store.index import Index
from preference.store.scores import Scores

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


def llama(
    seed: int = 0, positions: int = 64, layers: int = 2, head_dim: int = 4
) -> PreTrainedModel:
    """A tiny Llama: rotary positions, grouped keys, untied output layer."""
    torch.manual_seed(seed)
    size = LLAMA_SIZE | {"num_hidden_layers": layers, "head_dim": head_dim}
    config = LlamaConfig(**size, max_position_embeddings=positions)
    return LlamaForCausalLM(config).eval()


def ragged(rows: list[list[int]]) -> Ragged:
    lengths = [len(row) for row in rows]
    values = np.array([token for row in rows for token in row], dtype=np.int32)
    return Ragged.of(values, np.array(lengths, dtype=np.int64))


def cut(prompt: list[int], response: list[int], max_length: int) -> tuple[list[int], list[int]]:
    """The prompt and the response that `max_length` leaves: the beginning goes."""
    kept = (prompt + response)[-max_length:]
    response = response[-max_length:]
    return kept[: len(kept) - len(response)], response


def cut_all(
    first: list[int], prompt: list[int], responses: list[list[int]], max_length: int
) -> list[tuple[list[int], list[int]]]:
    """The same for all responses to a prompt; where something is to stand first, it stays."""
    if not first:
        return [cut(prompt, response, max_length) for response in responses]
    responses = [response[-max_length:] for response in responses]
    room = max_length - max(map(len, responses))
    whole = first + prompt
    if len(whole) > room:
        whole = first[:room] + whole[len(whole) - max(0, room - len(first)) :]
    return [(whole, response) for response in responses]


def make_index(counts: list[int], pairs: list[tuple[int, int]]) -> Index:
    """So many responses to each prompt, without labels; pairs are places among all responses."""
    prompt_of = np.repeat(np.arange(len(counts)), counts)
    return Index(
        rows=np.arange(len(counts)),
        prompt_of=prompt_of,
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        labels=np.full(len(prompt_of), -1, dtype=np.int8),
        weights=np.ones(len(prompt_of), dtype=np.float32),
    )


def make_examples(
    texts: list[tuple[list[int], list[list[int]]]],
    max_length: int,
    pairs: list[tuple[int, int]],
) -> Examples:
    """Prepared examples from token lists of prompts and responses."""
    kept = [[cut(prompt, response, max_length) for response in rest] for prompt, rest in texts]
    return Examples(
        index=make_index([len(rest) for _, rest in texts], pairs),
        prompts=ragged([max((prompt for prompt, _ in rest), key=len) for rest in kept]),
        responses=ragged([response for rest in kept for _, response in rest]),
        prompt_tokens=np.array([len(p) for rest in kept for p, _ in rest], dtype=np.int32),
    )


def make_pairs(texts: list[tuple[list[int], list[int], list[int]]], max_length: int) -> Examples:
    """Prepared pairs from token lists of prompt, chosen and rejected."""
    pairs = [(2 * row, 2 * row + 1) for row in range(len(texts))]
    return make_examples([(prompt, rest) for prompt, *rest in texts], max_length, pairs)


def make_scores(chosen: Sequence[Sequence[float]], rejected: Sequence[Sequence[float]]) -> Scores:
    """Scores of pairs from their sums, and the tokens of each, (pairs,) both, of either side."""
    (sums, tokens), (other_sums, other_tokens) = chosen, rejected
    pairs = [(2 * row, 2 * row + 1) for row in range(len(sums))]
    return Scores(
        make_index([2] * len(sums), pairs),
        np.stack([sums, other_sums], axis=1).reshape(-1).astype(np.float64),
        np.stack([tokens, other_tokens], axis=1).reshape(-1).astype(np.int32),
    )


def sequence(examples: Examples, response: int) -> tuple[list[int], list[int]]:
    """The ids that stand before a response, and its own."""
    prompt = examples.prompts[examples.index.prompt_of[response]].tolist()
    kept = int(examples.prompt_tokens[response])
    return prompt[len(prompt) - kept :], examples.responses[response].tolist()


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


def score(model: PreTrainedModel, examples: Examples) -> Scores:
    """All responses by themselves, in the model's own precision."""
    with torch.no_grad():
        found = [
            response_logp(model, *sequence(examples, response))
            for response in range(len(examples.responses))
        ]
    logps, tokens = zip(*found, strict=True)
    return Scores(examples.index, np.array([float(x) for x in logps]), np.array(tokens))


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log(1 + torch.exp(-x))


def train_dpo(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    examples: Examples,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    warmup: int,
    max_norm: float,
    beta: float,
    normalize: bool,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    decay: Callable[[float], float] = lambda passed: 1 - passed,
    decayed: Callable[[Tensor], bool] = lambda parameter: True,
) -> list[float]:
    """Full-batch DPO with four forward passes a pair and a hand-written AdamW; losses by step.

    Args:
        decay: of the learning rate, from the share of the steps after the warm-up to a factor.
        decayed: which parameters have weight decay.
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    losses = []
    for step in range(1, steps + 1):
        policy.zero_grad()
        terms = []
        for pair in examples.index.pairs:
            margin = torch.zeros((), dtype=torch.float64)
            for response, sign in zip(pair, (1, -1), strict=True):
                ids = sequence(examples, response)
                ours, tokens = response_logp(policy, *ids)
                with torch.no_grad():
                    theirs, _ = response_logp(reference, *ids)
                margin = margin + sign * (ours - theirs) / (tokens if normalize else 1)
            terms.append(-log_sigmoid(beta * margin))
        loss = torch.stack(terms).mean()
        loss.backward()
        losses.append(float(loss))
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        done = step - 1
        after = (done - warmup) / max(1, steps - warmup)
        factor = done / warmup if done < warmup else decay(after)
        rate = learning_rate * factor
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                clipped = g * min(1.0, max_norm / (norm + 1e-6))
                if decayed(p):
                    p.mul_(1 - rate * weight_decay)
                m.mul_(betas[0]).add_((1 - betas[0]) * clipped)
                v.mul_(betas[1]).add_((1 - betas[1]) * clipped**2)
                slope = m / (1 - betas[0] ** step)
                p.sub_(rate * slope / ((v / (1 - betas[1] ** step)).sqrt() + epsilon))
    return losses


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What torch.nn.attention.varlen documents: each sequence of queries against its own keys.

    Causal, aligned to the lower right (torch.nn.attention.bias.causal_lower_right).
    """
    assert window_size == (-1, 0)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    queries, keys = cu_seq_q.diff().tolist(), cu_seq_k.diff().tolist()
    assert (max(queries), max(keys)) == (max_q, max_k)
    many = query.shape[1] // key.shape[1]
    found = []
    for q, k, v in zip(query.split(queries), key.split(keys), value.split(keys), strict=True):
        over, of = (x.repeat_interleave(many, 1).transpose(0, 1) for x in (k, v))
        scores = q.transpose(0, 1) @ over.mT * (scale or q.shape[-1] ** -0.5)
        ahead = torch.ones(len(q), len(k), dtype=torch.bool).triu(len(k) - len(q) + 1)
        weights = scores.masked_fill(ahead, -torch.inf).softmax(-1)
        found.append((weights @ of).transpose(0, 1))
    return torch.cat(found)
