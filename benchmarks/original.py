"""The published script's way: a pass a response, the reference every time, text to the end."""

import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from benchmarks.measured import Measured
from benchmarks.workload import Workload

BATCH = 4
Inputs = tuple[Tensor, Tensor, Tensor]


def measure(work: str, workload: Workload, precision: str, options: dict[str, Any]) -> Measured:
    """Train with DPO by four forward passes a pair, or evaluate policy and reference so."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(workload.model, dtype=torch.float32).to(device)
        for _ in range(2)
    )
    policy.eval()
    reference.eval().requires_grad_(False)
    start = time.perf_counter()
    if work == "scoring":
        with torch.no_grad():
            for chosen, rejected in _batches(workload, device):
                for model in (policy, reference) if options.get("reference", True) else (policy,):
                    _logps(model, chosen)
                    _logps(model, rejected)
        return Measured(time.perf_counter() - start)
    accumulate = workload.step_size // BATCH
    steps = workload.epochs * -(-workload.pairs // workload.step_size)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-5, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * steps), steps)
    for _ in range(workload.epochs):
        for number, (chosen, rejected) in enumerate(_batches(workload, device), start=1):
            scores = _logps(policy, chosen), _logps(policy, rejected)
            with torch.no_grad():
                anchors = _logps(reference, chosen), _logps(reference, rejected)
            margins, theirs = (chosen - rejected for chosen, rejected in (scores, anchors))
            loss = -F.logsigmoid(0.1 * (margins - theirs)).mean() / accumulate
            loss.backward()
            if number % accumulate == 0 or number * BATCH >= workload.pairs:
                torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    return Measured(time.perf_counter() - start)


def _logps(model: torch.nn.Module, inputs: Inputs) -> Tensor:
    """Mean log-probability of each response's tokens; (rows,)."""
    ids, attention, response = inputs
    logits = model(input_ids=ids, attention_mask=attention).logits[:, :-1]
    logps = F.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    mask = response[:, 1:]
    return (logps * mask).sum(1) / mask.sum(1)


def _batches(workload: Workload, device: torch.device) -> Iterator[tuple[Inputs, Inputs]]:
    tokenizer = AutoTokenizer.from_pretrained(workload.model)

    def ids(prompt: str, response: str) -> tuple[list[int], int]:
        both = tokenizer(prompt)["input_ids"], tokenizer(response)["input_ids"]
        answer = [*both[1], tokenizer.eos_token_id]
        whole = [*both[0], *answer][-workload.max_length :]
        return whole, min(len(answer), len(whole))

    def pad(rows: list[tuple[list[int], int]]) -> Inputs:
        width = max(len(row) for row, _ in rows)
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        attention, response = torch.zeros_like(tokens), torch.zeros_like(tokens)
        for i, (row, answer) in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
            attention[i, : len(row)] = 1
            response[i, len(row) - answer : len(row)] = 1
        return tokens.to(device), attention.to(device), response.to(device)

    def collate(pairs: list[tuple[str, str, str]]) -> tuple[Inputs, Inputs]:
        return (
            pad([ids(prompt, chosen) for prompt, chosen, _ in pairs]),
            pad([ids(prompt, rejected) for prompt, _, rejected in pairs]),
        )

    generator = torch.Generator().manual_seed(workload.seed)
    yield from DataLoader(
        workload.texts(),  # type: ignore[arg-type]  # a list is a dataset
        BATCH,
        shuffle=True,
        generator=generator,
        collate_fn=collate,
    )
