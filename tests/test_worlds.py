"""A training in two processes: what one gives, and the same to the bit where it was killed."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import sessions
from accelerate import Accelerator
from gloo import in_two_processes, killed_in_two_processes
from scorers import PACKED
from settings import train
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from preference.core.optimization import Lora
from preference.evaluation.metrics import pair_metrics
from preference.evaluation.scoring import score
from preference.losses import named
from preference.model import compiled, layers, lora
from preference.model.scorer import ResponseLogps
from preference.runtime import state
from preference.runtime.checkpoints import ROOT, Checkpoints, Position
from preference.training import loop

STEPS = 6  # in two epochs


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    # Processes here are forks of this one, and the compiler's threads are not in them.
    with inductor.patch(compile_threads=1):
        yield


@dataclass(frozen=True)
class Way:
    """How a training is run."""

    shards: bool = False
    precision: str = "no"
    adapters: Lora | None = None
    dropout: bool = False
    compiled: bool = False
    model: Callable[[int], PreTrainedModel] = naive.gpt2


@dataclass(frozen=True)
class Kill:
    """When a process is killed: in a pass, or while it writes a checkpoint, after so many steps."""

    step: int
    writing: bool = False
    process: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        went_on: after which step, if it was started again.
        weights: whole, by name.
        margins: of the pairs, before each epoch and at the end.
    """

    went_on: int | None
    weights: dict[str, np.ndarray]
    margins: list[float]


class Killing(Checkpoints):
    """Checkpoints that know how far a run is, and when it is to be killed."""

    kill: Kill | None = None
    step = 0
    went_on: int | None = None

    def resume(self, *args: Any) -> tuple[Path | None, Position]:
        found, position = super().resume(*args)
        self.went_on, self.step = (position.step if found else None), position.step
        return found, position

    def save(self, position: Position, *args: Any) -> Position:
        self.step = position.step
        return super().save(position, *args)

    def perhaps(self, *, writing: bool) -> None:
        if self.kill == Kill(self.step, writing, self._accelerator.process_index):
            os.kill(os.getpid(), signal.SIGKILL)


def fit(way: Way, kill: Kill | None = None) -> Trained:
    """DPO through the loop, with a checkpoint after every step; each has several micro-batches."""
    session = sessions.make(100, seed=3, precision=way.precision, shards=way.shards)
    kept = session.checkpoints = Killing("test", session.accelerator, minutes=0)
    kept.kill = kill
    pairs = naive.make_pairs(naive.random_texts(12, seed=3), 30)
    # Where gradients are near 0, AdamW's usual epsilon makes of rounding steps of full size.
    asked = train(beta=0.5, epochs=2, batch_size=4, dropout=way.dropout, adam_epsilon=1e-3)
    task = named("dpo").task(pairs, naive.score(naive.gpt2(1), pairs), asked, False, 1)
    model = way.model(2)
    both = compiled.layers(model, session.accelerator) if way.compiled else []
    scorer = ResponseLogps(model, replace(PACKED, compiled=way.compiled), compiled=both)
    if way.shards:
        layers.widen(scorer.model)
    if way.adapters:
        lora.inject(scorer.model, way.adapters, 3, session.accelerator, "train.lora")
    margins: list[float] = []
    weights: dict[str, np.ndarray] = {}

    def loss(*given: Any) -> Tensor:
        kept.perhaps(writing=False)
        return task.loss(*given)

    def write(accelerator: Accelerator, optimizer: Optimizer, directory: Path) -> None:
        state_write(accelerator, optimizer, directory)
        kept.perhaps(writing=True)

    def evaluate(model: nn.Module) -> dict[str, float]:
        metrics = pair_metrics(score(model, pairs, session, "test"), False)
        margins.append(metrics["margin"])
        return metrics

    def save(model: nn.Module) -> None:
        for name, weight in session.accelerator.unwrap_model(model).state_dict().items():
            whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
            weights[name] = whole.float().numpy().copy()

    state_write = state.write
    with pytest.MonkeyPatch.context() as patched, sessions.opened(session):
        patched.setattr(state, "write", write)
        loop.fit(
            scorer,
            replace(task, loss=loss),
            asked,
            session,
            curves=Path("curves"),
            evaluate=evaluate,
            save=save,
        )
    return Trained(kept.went_on, weights, margins)


def written() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path("curves").rglob("*")) if p.is_file()}


def assert_same(found: list[Trained], expected: list[Trained]) -> None:
    """To the bit, in each process."""
    for one, other in zip(found, expected, strict=True):
        assert one.margins == other.margins[-len(one.margins) :]
        assert one.weights.keys() == other.weights.keys()
        assert all(np.array_equal(one.weights[n], w) for n, w in other.weights.items())


ADAPTERS = Lora(r=2, lora_dropout=0.3, target_modules="all-linear")
WIDE = partial(naive.llama, head_dim=16)  # attention in C++ takes such heads
WAYS = {
    "ddp": Way(),
    "ddp-bf16": Way(precision="bf16"),
    "fsdp": Way(shards=True),
    "fsdp-bf16": Way(shards=True, precision="bf16"),
    "ddp-compiled": Way(compiled=True),
    "fsdp-compiled": Way(shards=True, compiled=True),
    "fsdp-bf16-compiled": Way(shards=True, precision="bf16", compiled=True),
    "fsdp-bf16-attention": Way(shards=True, precision="bf16", compiled=True, model=WIDE),
}
# Each process draws random numbers of its own, so that these are nobody else's trainings.
DRAWING = {
    "ddp-dropout": Way(dropout=True),
    "fsdp-dropout": Way(shards=True, dropout=True),
    "ddp-lora": Way(adapters=ADAPTERS, dropout=True),
    "fsdp-bf16-lora": Way(shards=True, precision="bf16", adapters=ADAPTERS, dropout=True),
    "ddp-lora-compiled": Way(adapters=ADAPTERS, dropout=True, compiled=True),
}
SHORT = ("ddp", "fsdp-bf16", "fsdp-dropout", "fsdp-bf16-attention")


def marked(values: Mapping[str, Any], short: tuple[str, ...]) -> list[Any]:
    """All of them; those that are not among the short ones are long."""
    return [
        pytest.param(value, id=name, marks=[pytest.mark.long] * (name not in short))
        for name, value in values.items()
    ]


def distance(one: Trained, other: Trained, way: Way) -> float:
    """How far weights are apart, as a share of how far training took the other's."""
    start = {n: w.numpy() for n, w in ResponseLogps(way.model(2), PACKED).state_dict().items()}
    apart = sum(float(((one.weights[n] - w) ** 2).sum()) for n, w in other.weights.items())
    gone = sum(float(((start[n] - w) ** 2).sum()) for n, w in other.weights.items())
    return (apart / gone) ** 0.5


def killed_and_started_again(way: Way) -> list[Trained]:
    """In two processes, of which the main one is killed in a pass: it has done with checkpoints."""
    expected, curves = in_two_processes(lambda: fit(way)), written()
    killed_in_two_processes(lambda: fit(way, Kill(step=4)))
    assert [place.name for place in sorted(ROOT.glob("test/*/*"))] == ["000000003", "000000004"]
    found = in_two_processes(lambda: fit(way))
    assert [one.went_on for one in found] == [4, 4]
    assert_same(found, expected)
    assert written() == curves
    return expected


@pytest.mark.parametrize("way", marked(WAYS, SHORT))
def test_two_processes_killed_and_started_again_give_what_one_gives(way: Way) -> None:
    """In float32 to its rounding, in bf16 as near to float32 as one process comes with bf16."""
    exact = fit(Way(model=way.model))
    rounded = distance(fit(replace(way, shards=False)), exact, way)
    for found in killed_and_started_again(way):
        apart = distance(found, exact, way)
        print(f"{way}: {apart:.2g} from one process in float32, which in this is {rounded:.2g}")
        assert len(found.margins) == 3
        assert abs(exact.margins[-1] - exact.margins[0]) > 1
        if way.precision == "no":
            assert apart < 1e-5
            np.testing.assert_allclose(found.margins, exact.margins, rtol=1e-5)
        else:
            assert 0.5 * rounded < apart < 1.5 * rounded
            np.testing.assert_allclose(found.margins, exact.margins, atol=0.1)


@pytest.mark.parametrize("way", marked(DRAWING, SHORT))
def test_random_numbers_go_on_in_each_of_two_processes(way: Way) -> None:
    killed_and_started_again(way)


@pytest.mark.parametrize("process", marked({"main": 0, "other": 1}, ("other",)))
def test_a_checkpoint_that_one_of_two_was_killed_at_is_none(process: int) -> None:
    way = WAYS["fsdp"]
    expected = in_two_processes(lambda: fit(way))
    killed_in_two_processes(lambda: fit(way, Kill(step=3, writing=True, process=process)))
    assert [place.name for place in sorted(ROOT.glob("test/*/0*"))] == ["000000001", "000000002"]
    found = in_two_processes(lambda: fit(way))
    assert [one.went_on for one in found] == [2, 2]
    assert_same(found, expected)


def test_what_is_damaged_for_one_of_two_is_passed_over_by_both() -> None:
    way = WAYS["fsdp"]
    expected = in_two_processes(lambda: fit(way))
    killed_in_two_processes(lambda: fit(way, Kill(step=4)))
    _, newest = sorted(ROOT.glob("test/*/*"))
    kept = newest / "00001" / state.NAME
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    found = in_two_processes(lambda: fit(way))
    assert [one.went_on for one in found] == [3, 3]
    assert_same(found, expected)
