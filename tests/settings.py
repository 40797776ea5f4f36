"""Training params for tests; each test names only those that it is about."""

from typing import Literal

import data_helpers

from preference.core.optimization import Optimization
from preference.core.params import (
    Model,
    Params,
    Reference,
    Report,
    Runtime,
    Samples,
    Scoring,
    Sft,
    Train,
)

Precision = Literal["fp32", "bf16", "fp16", "auto"]
Device = Literal["auto", "cpu", "cuda", "mps"]


def train(**changes: object) -> Train:
    """DPO for one epoch in steps of one example, with some params set to other values."""
    values: dict[str, object] = {
        "objective": "dpo",
        "beta": 0.1,
        "label_noise": 0.0,
        "evaluate": "test",
        "options": {},
        "kto": {"target_kl": 0.0},
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 1,
        "grad_accum_steps": 1,
        "weight_decay": 0.0,
        "warmup_ratio": 0.0,
        "max_grad_norm": 1.0,
        "dropout": False,
    }
    return Train.model_validate(values | changes)


def params(precision: Precision, device: Device, workers: int | None = None) -> Params:
    """All of them, for tests that look at few."""
    steps = train()
    return Params(
        seed=0,
        data=data_helpers.data(train_pairs=1, eval_pairs=1, max_length=8),
        model=Model(base="scratch", revision=None),
        scoring=Scoring(length_normalize=True),
        samples=Samples(prompts=1, max_new_tokens=1, kl_prompts=1),
        report=Report(decimals=4, published=None),
        sft=Sft(turns="last", **steps.model_dump(include=set(Optimization.model_fields))),
        reference=Reference(train="responses"),
        train=steps,
        precision=precision,
        runtime=Runtime(device=device, workers=workers),
    )
