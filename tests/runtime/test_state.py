"""What training changes, kept by each process for itself."""

import os
import pickle
from pathlib import Path
from typing import Any

import naive
import pytest
import sessions
import torch
from gloo import in_two_processes
from scorers import PACKED
from torch import Tensor, nn
from torch.optim import AdamW

from preference.model.scorer import ResponseLogps
from preference.runtime import state
from preference.runtime.processes import divided


def stepped(model: nn.Module, frozen: str = "") -> AdamW:
    """An optimizer of all that does not begin with a name, after a step."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(not (frozen and name.startswith(frozen)))
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    step(model, optimizer)
    return optimizer


def step(model: nn.Module, optimizer: AdamW) -> None:
    for weight in model.parameters():
        if weight.requires_grad:
            weight.grad = torch.full_like(weight, 0.5) + weight.detach()
    optimizer.step()


def values(optimizer: AdamW) -> list[Tensor]:
    """Copies of the weights and of all that the optimizer knows of them, in order."""
    weights = optimizer.param_groups[0]["params"]
    moments = [value for weight in weights for value in optimizer.state[weight].values()]
    return [value.detach().clone() for value in (*weights, *moments)]


def test_what_is_taken_back_is_what_was_kept(tmp_path: Path) -> None:
    model, accelerator = naive.gpt2(), sessions.make().accelerator
    optimizer = stepped(model, frozen="transformer.h.0")
    kept = values(optimizer)
    torch.manual_seed(7)
    state.write(accelerator, optimizer, tmp_path)
    drawn = torch.rand(3)
    step(model, optimizer)
    assert not any(map(torch.equal, values(optimizer), kept))
    other = stepped(naive.gpt2(1), frozen="transformer.h.0")
    for each in (optimizer, other):
        state.read(accelerator, each, tmp_path, tmp_path)
        assert all(map(torch.equal, values(each), kept))
        assert torch.equal(torch.rand(3), drawn)


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Trap()}, state.NAME)
    accelerator, optimizer = sessions.make().accelerator, stepped(naive.gpt2())
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.mkdir"):
        state.read(accelerator, optimizer, tmp_path, tmp_path)
    assert not Path("sprung").exists()


def parts(directory: Path) -> tuple[list[tuple[int, ...]], list[float], bool]:
    """Of two processes: shapes that this one keeps, their sums, and whether they come back."""
    accelerator = sessions.make(shards=True).accelerator
    model = divided(accelerator, ResponseLogps(naive.llama(), PACKED))
    optimizer = accelerator.prepare_optimizer(torch.optim.AdamW(model.parameters(), lr=0.1))
    step(model, optimizer.optimizer)
    own = directory / str(accelerator.process_index)
    own.mkdir()
    state.write(accelerator, optimizer.optimizer, own)
    before = values(optimizer.optimizer)
    step(model, optimizer.optimizer)
    state.read(accelerator, optimizer.optimizer, own, directory / "0")
    same = all(map(torch.equal, values(optimizer.optimizer), before))
    kept = torch.load(own / state.NAME)
    tensors = [*kept["weights"], *(of["exp_avg_sq"] for of in kept["state"].values())]
    return [tuple(t.shape) for t in tensors], [float(t.double().sum()) for t in tensors], same


def test_each_of_two_processes_keeps_its_rows(tmp_path: Path) -> None:
    """Of 97 rows one has 49, the other 48."""
    (first, one, same), (second, other, alike) = in_two_processes(lambda: parts(tmp_path))
    assert same
    assert alike
    model = naive.llama()
    optimizer = stepped(model)
    whole = values(optimizer)
    moments = [optimizer.state[weight]["exp_avg_sq"] for weight in model.parameters()]
    expected = [*whole[: len(moments)], *moments]
    shapes = [tuple(t.shape) for t in expected]
    assert (97, 16) in shapes
    assert first == [(-(-rows // 2), *rest) for rows, *rest in shapes]
    assert second == [(rows // 2, *rest) for rows, *rest in shapes]
    sums = [a + b for a, b in zip(one, other, strict=True)]
    assert sums == pytest.approx([float(t.double().sum()) for t in expected], rel=1e-6)
