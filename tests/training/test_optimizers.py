"""Optimizers and schedules by value, and what is refused where they cannot be had."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import naive
import pytest
import sessions
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from hypothesis import given
from hypothesis import strategies as st
from settings import train
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, get_scheduler

from preference.core.errors import InputError
from preference.model.abilities import Abilities
from preference.model.scorer import ResponseLogps
from preference.training import optimizers

Decay = Callable[[float], float]
DECAYS: dict[str, Decay] = {
    "linear": lambda passed: 1 - passed,
    "cosine": lambda passed: (1 + math.cos(math.pi * passed)) / 2,
    "constant_with_warmup": lambda passed: 1.0,
}


def rates(schedule: Any, steps: int) -> list[float]:
    """The learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def sgd(rate: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


@pytest.mark.parametrize("name", DECAYS)
@given(steps=st.integers(1, 60), ratio=st.floats(0, 1))
def test_rates_are_the_formulas_and_those_of_transformers(
    name: str, steps: int, ratio: float
) -> None:
    settings = train(schedule=name, warmup_ratio=ratio, learning_rate=0.3)
    found = rates(optimizers.schedule(sgd(0.3), settings, steps), steps)
    warmup = int(ratio * steps)
    theirs = rates(get_scheduler(name, sgd(0.3), warmup, steps), steps)
    ours = [
        0.3 * (at / warmup if at < warmup else DECAYS[name]((at - warmup) / (steps - warmup)))
        for at in range(steps)
    ]
    assert found == pytest.approx(ours, rel=0, abs=1e-12)
    assert found == pytest.approx(theirs, rel=0, abs=1e-12)


def test_no_steps_have_a_schedule() -> None:
    assert optimizers.schedule(sgd(), train(), 0).get_last_lr() == [1.0]


# As the architectures' own names say: matrices are what is left.
ONE_DIMENSIONAL = {
    "gpt2": (
        *(f"transformer.h.{layer}.{name}" for layer in (0, 1) for name in (
            "ln_1.weight", "ln_1.bias", "attn.c_attn.bias", "attn.c_proj.bias",
            "ln_2.weight", "ln_2.bias", "mlp.c_fc.bias", "mlp.c_proj.bias",
        )),
        "transformer.ln_f.weight", "transformer.ln_f.bias",
    ),
    "llama": (
        *(f"model.layers.{layer}.{name}" for layer in (0, 1) for name in (
            "input_layernorm.weight", "post_attention_layernorm.weight",
        )),
        "model.norm.weight",
    ),
}  # fmt: skip


def groups(model: nn.Module, **changes: object) -> list[tuple[float, list[str]]]:
    """Of each group the weight decay, and the names of its parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    made = optimizers.make(model, train(weight_decay=0.1, **changes), fused=True)
    return [
        (group["weight_decay"], [names[id(parameter)] for parameter in group["params"]])
        for group in made.param_groups
    ]


@pytest.mark.parametrize("kind", ONE_DIMENSIONAL)
def test_norms_and_biases_have_no_weight_decay_where_that_is_asked_for(kind: str) -> None:
    model = getattr(naive, kind)()
    every = [name for name, _ in model.named_parameters()]
    assert groups(model) == [(0.1, every)]
    spared = ONE_DIMENSIONAL[kind]
    decayed = [name for name in every if name not in spared]
    found = groups(model, weight_decay_on="matrices")
    assert found == [(0.1, decayed), (0.0, [*spared])]
    theirs = Trainer.get_decay_parameter_names(cast(Trainer, None), model)
    # Tied weights have a second name there.
    assert decayed == [name for name in theirs if name in every]


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_betas_and_epsilon_are_those_of_the_formula(precision: torch.dtype) -> None:
    """Loshchilov and Hutter 2019, algorithm 2, of a matrix and a vector."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).to(precision)
    by_hand = {name: p.detach().clone() for name, p in model.named_parameters()}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in by_hand.items()}
    settings = train(
        learning_rate=0.05,
        weight_decay=0.4,
        weight_decay_on="matrices",
        adam_beta1=0.7,
        adam_beta2=0.8,
        adam_epsilon=1e-3,
    )
    made = optimizers.make(model, settings, fused=True)
    for step in range(1, 5):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            own, (first, second) = by_hand[name], moments[name]
            first += 0.3 * (parameter.grad - first)
            second += 0.2 * (parameter.grad**2 - second)
            own *= 1 - 0.05 * 0.4 * (name == "weight")
            wide = (second / (1 - 0.8**step)).sqrt() + 1e-3
            own -= 0.05 * first / (1 - 0.7**step) / wide
        made.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), by_hand[name])


def refused(accelerator: object, **asked: str) -> str:
    sections = {name: train(optimizer=optimizer) for name, optimizer in asked.items()}
    with pytest.raises(InputError) as caught:
        optimizers.require(cast(Accelerator, accelerator), **sections)
    return str(caught.value)


def test_where_bitsandbytes_is_missing_8_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    accelerator = sessions.make().accelerator
    assert refused(accelerator, sft="adamw", train="adamw_8bit") == (
        "params.yaml: train.optimizer: adamw_8bit needs bitsandbytes, which is not installed; pip "
        "install bitsandbytes, or set it to adamw"
    )
    optimizers.require(accelerator, sft=train(), train=train())


def test_where_it_does_not_work_8_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(parameters: list[Tensor]) -> None:
        raise NotImplementedError(f"no kernel for {parameters[0].device.type}\nand more")

    monkeypatch.setattr(optimizers, "_eight_bit", lambda: fail)
    assert refused(sessions.make().accelerator, sft="adamw_8bit") == (
        "params.yaml: sft.optimizer: adamw_8bit does not work on cpu (NotImplementedError: no "
        "kernel for cpu); use another runtime.device, or set it to adamw"
    )


def test_sharded_weights_and_8_bits_are_refused() -> None:
    accelerator = SimpleNamespace(distributed_type=DistributedType.FSDP)
    assert refused(accelerator, sft="adamw_8bit") == (
        "params.yaml: sft.optimizer: adamw_8bit does not work with FSDP; start it without, or set "
        "it to adamw"
    )


def test_8_bits_of_large_matrices_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", exc_type=ImportError)
    settings = train(optimizer="adamw_8bit", learning_rate=1e-2, weight_decay=0.1)

    def make() -> tuple[Accelerator, nn.Module, Any]:
        accelerator = sessions.make().accelerator
        optimizers.require(accelerator, sft=settings)
        torch.manual_seed(0)
        large = GPT2Config(vocab_size=300, n_layer=1, n_head=2, n_embd=64, n_positions=64)
        scorer = ResponseLogps(GPT2LMHeadModel(large), Abilities("plain", bare_output=False))
        return accelerator, *accelerator.prepare(
            scorer, optimizers.make(scorer, settings, fused=True)
        )

    def steps(model: nn.Module, optimizer: Any, first: int, last: int) -> list[Tensor]:
        for step in range(first, last):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        return [parameter.detach().clone() for parameter in model.parameters()]

    accelerator, model, optimizer = make()
    expected = steps(model, optimizer, 0, 6)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kinds = {names[id(p)]: kept["state1"].dtype for p, kept in optimizer.state.items()}
    assert {kind for name, kind in kinds.items() if name.endswith("c_fc.weight")} == {torch.uint8}
    # Embeddings, norms and biases keep theirs wide.
    narrow = [name for name, kind in kinds.items() if kind == torch.uint8]
    assert all(name.endswith("weight") and ".h.0." in name for name in narrow)
    assert len(narrow) == 4

    accelerator, model, optimizer = make()
    steps(model, optimizer, 0, 3)
    accelerator.save_state(str(tmp_path))
    accelerator, model, optimizer = make()
    accelerator.load_state(str(tmp_path))
    found = steps(model, optimizer, 3, 6)
    assert all(torch.equal(*both) for both in zip(found, expected, strict=True))
