"""Steps that are taken without waiting for their numbers, and bad ones among them."""

from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
import sessions
import torch
from scorers import PACKED
from settings import train
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from preference.core.errors import InputError
from preference.losses import named
from preference.model.attention import varlen
from preference.model.scorer import ResponseLogps
from preference.objectives import sft
from preference.objectives.objective import Task
from preference.runtime.session import Session
from preference.store.examples import Examples
from preference.training.gradients import Gradients
from preference.training.update import Taken, Update


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pairs() -> Examples:
    return naive.make_pairs(naive.random_texts(10), 30)


def stepped(task: Task, session: Session, index: np.ndarray) -> tuple[Update, Taken]:
    scorer = ResponseLogps(naive.llama(), PACKED)
    update = Update(scorer, task, train(), session, 1)
    gradients = Gradients(update.model, task, "packed", session)
    return update, update.step(gradients.leave(gradients.make(index)), index)


def test_a_step_is_told_when_it_is_read(pairs: Examples) -> None:
    session = sessions.make()
    session.overlap = True
    update, taken = stepped(sft.task(pairs), session, np.arange(10))
    scores = naive.score(naive.llama(), pairs)
    told = taken.metrics()
    loss = -scores.logps[::2].sum() / scores.tokens[::2].sum()
    assert told.pop("loss") == pytest.approx(loss, rel=1e-5)
    assert told.pop("grad_norm") > 0
    assert told == {"learning_rate": 1e-3}
    assert (taken.number, taken.agreed.due, taken.agreed.stop) == (1, False, False)
    update.require_good(taken)


def nan_of(pairs: Examples) -> Task:
    task = sft.task(pairs)
    return replace(task, loss=lambda logps, counts, index, statistic: logps * float("nan"))


def weights(update: Update) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in update.model.parameters()])


def test_a_bad_step_is_not_taken_where_its_numbers_are_waited_for(pairs: Examples) -> None:
    with pytest.raises(InputError, match="the loss is nan"):
        stepped(nan_of(pairs), sessions.make(), np.arange(3))


def test_a_bad_step_is_found_when_it_is_read(pairs: Examples) -> None:
    session = sessions.make()
    session.overlap = True
    update, taken = stepped(nan_of(pairs), session, np.arange(3))
    assert weights(update).isnan().all()
    with pytest.raises(InputError, match=r"the loss is nan.* at step 1 \(rows \[0, 1, 2\]"):
        update.require_good(taken)


@pytest.mark.parametrize("name", ["sft", "dpo", "kto"])
def test_a_step_reads_nothing_back(
    name: str, pairs: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tensors have no values, whoever asks for one fails: as on a GPU he would wait."""
    monkeypatch.setattr(varlen, "takes", lambda value: True)
    session, index = sessions.make(), np.arange(10)
    session.overlap, session.accelerator.device_placement = True, False
    reference = naive.score(naive.gpt2(2), pairs)
    task = sft.task(pairs)
    if name != "sft":
        settings = train(objective=name, label_noise=0.2)
        task = named(name).task(pairs, reference, settings, True, 1)
    step = Gradients(ResponseLogps(naive.gpt2(), PACKED), task, "packed", session).make(index)
    parts = []
    for part in step.parts:
        sequences = varlen.plan(part.batch.segments[0].numpy(), part.batch.lengths)
        parts.append(part._replace(batch=replace(part.batch, sequences=sequences)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        update = Update(ResponseLogps(naive.gpt2(), PACKED), task, train(), session, 1)
        gradients = Gradients(update.model, task, "packed", session)
        taken = update.step(gradients.leave(step._replace(parts=parts)), index)
        with pytest.raises(DataDependentOutputException):
            update.require_good(taken)
