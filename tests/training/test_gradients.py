"""The gradient of a step, however memory makes it be cut."""

import copy
from dataclasses import replace
from functools import partial

import naive
import numpy as np
import pytest
import sessions
import torch
from gloo import in_two_processes, shard
from meters import Live, Meter
from scorers import PACKED, Small
from settings import train
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from preference.core.errors import InputError
from preference.losses import named
from preference.model import batches
from preference.model.scorer import ResponseLogps
from preference.objectives import sft
from preference.objectives.mismatched import mismatched
from preference.runtime import processes
from preference.store.examples import Examples, Ragged
from preference.store.scores import Scores
from preference.training.gradients import Gradients


@pytest.fixture
def pairs() -> Examples:
    return naive.make_pairs(naive.random_texts(10), 30)


def test_out_of_memory_halves_the_micro_batch_and_changes_no_gradient(
    pairs: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    model = naive.gpt2()
    large, small = ResponseLogps(copy.deepcopy(model), PACKED), Small(model, PACKED)
    small.tokens = 130
    found = []
    for scorer in (large, small):
        gradients = Gradients(scorer, sft.task(pairs), "packed", sessions.make())
        loss, *_ = gradients.leave(gradients.make(np.arange(10))).tolist()
        found.append((loss, {name: p.grad for name, p in scorer.named_parameters()}))
    assert small.refused
    assert "out of memory: micro-batches of" in caplog.text
    (expected, grads), (loss, others) = found
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, grad in grads.items():
        torch.testing.assert_close(others[name], grad, rtol=1e-4, atol=1e-6)
    small.tokens = 5
    with pytest.raises(InputError, match="test: out of memory with one item at a time"):
        gradients.leave(gradients.make(np.arange(10)))


def test_measured_micro_batches_take_no_more_than_there_is() -> None:
    """And leave the gradient what it is."""
    many = naive.make_pairs(naive.random_texts(60), 30)
    whole = ResponseLogps(naive.llama(), PACKED)
    expected = Gradients(whole, sft.task(many), "packed", sessions.make(10**6))
    expected.leave(expected.make(np.arange(60)))
    scorer, session = ResponseLogps(naive.llama(), PACKED), sessions.make(10**6)
    gradients = Gradients(scorer, sft.task(many), "packed", session)
    session.meter = Meter(700_000)
    gradients.make_room(0)
    assert session.meter is None
    assert all(parameter.grad is None for parameter in scorer.parameters())
    with Live() as live:
        gradients.leave(gradients.make(np.arange(60)))
    positions = batches.shapes(many, Ragged.even(gradients.task.items), "packed")[:, 1]
    assert session.tokens_per_batch < 0.25 * positions.sum()
    assert 420_000 < live.most < 700_000
    for one, other in zip(scorer.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_statistic_of_each_item_goes_with_the_parts_items(pairs: Examples) -> None:
    task = replace(sft.task(pairs), statistic=lambda logps, counts, index: torch.tensor(index))
    gradients = Gradients(ResponseLogps(naive.gpt2(), PACKED), task, "packed", sessions.make())
    index = np.array([3, 1, 2])
    parts = [gradients._part(pairs, items, index) for items in (index[2:], index[:2], index[:0])]
    found = gradients._statistics(gradients.make(index)._replace(parts=parts))
    # An empty part, which one process may have, takes part with the first item.
    assert [part.tolist() for part in found if part is not None] == [[2], [3, 1], [3]]


# Models by their seeds, so that the estimate is above 0.
POLICY, REFERENCE = 2, 1
INDEX = np.arange(3, 16)
Found = tuple[int, float, list[float]]
Step = dict[str, np.ndarray]


def scored(model: int) -> tuple[Scores, Scores]:
    """What a model gives the responses, and the same behind other prompts."""
    pairs = naive.make_pairs(naive.random_texts(10, seed=3), 30)
    loaded = naive.gpt2(model).double()
    return naive.score(loaded, pairs), naive.score(loaded, mismatched(pairs, 1))


def divided(tokens: int) -> Found:
    """How many processes take part, the step's loss under KTO with its KL term, the gradient."""
    session = sessions.make(tokens)
    pairs = naive.make_pairs(naive.random_texts(10, seed=3), 30)
    anchors, apart = scored(REFERENCE)
    task = named("kto_kl").task(pairs, anchors, train(beta=0.5), False, 1, apart)
    model = session.accelerator.prepare(ResponseLogps(naive.gpt2(POLICY).double(), PACKED))
    gradients = Gradients(model, task, "packed", session)
    loss = gradients.leave(gradients.make(INDEX))[:1]
    (total,) = session.agree(*loss.tolist()).totals
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return session.accelerator.num_processes, total, gradient.tolist()


def test_kto_with_its_kl_term_is_one_loss_however_the_step_is_divided() -> None:
    """In one micro-batch, in many, and in two processes: that of the whole step, one by one."""
    (anchors, apart), (policy, others) = scored(REFERENCE), scored(POLICY)
    kl = (others.logps - apart.logps)[INDEX].mean()
    assert kl > 0.1
    above = 0.5 * ((policy.logps - anchors.logps)[INDEX] - kl)
    losses = 1 - 1 / (1 + np.exp(-np.where(INDEX % 2 == 0, above, -above)))
    runs = [*map(divided, (10_000, 60, 1)), *in_two_processes(lambda: divided(60))]
    assert [processes for processes, *_ in runs] == [1, 1, 1, 2, 2]
    for _, loss, gradient in runs:
        assert loss == pytest.approx(losses.mean(), rel=1e-6)
        np.testing.assert_allclose(gradient, runs[0][2], rtol=1e-6, atol=1e-7)


def of_a_step(tokens: int, *, short: int = 0, shards: bool = False, precision: str = "no") -> Step:
    """A step of DPO: its loss, its gradient, and what it took.

    Args:
        short: tokens that the second process has memory for, if not for all.
    """
    session = sessions.make(tokens, precision=precision)
    accelerator = session.accelerator
    if shards:
        shard(accelerator)
    pairs = naive.make_pairs(naive.random_texts(10, seed=3), 30)
    reference = naive.score(naive.llama(REFERENCE), pairs)
    task = named("dpo").task(pairs, reference, train(beta=0.5), False, 1)
    scorer = Small(naive.llama(POLICY), PACKED)
    scorer.tokens = short if short and accelerator.process_index else 10**9
    model: torch.nn.Module = processes.divided(accelerator, scorer)
    if not shards:
        model = accelerator.prepare(scorer)
    whole, backward = [0], accelerator.backward

    def watched(loss: Tensor) -> None:
        backward(loss)
        states = [m._get_fsdp_state() for m in model.modules() if isinstance(m, FSDPModule)]
        groups = [s._fsdp_param_group for s in states if s._fsdp_param_group]
        kept = [p.unsharded_accumulated_grad for group in groups for p in group.fsdp_params]
        whole.append(sum(g.numel() for g in kept if g is not None))

    accelerator.backward = watched
    gradients = Gradients(model, task, "packed", session)
    loss = gradients.leave(gradients.make(np.arange(10)))[:1]
    found = {
        "loss": np.array(session.agree(*loss.tolist()).totals),
        "tokens": np.array(session.tokens_per_batch),
        "whole": np.array(max(whole)),
        "passes": np.array(len(whole) - 1),
    }
    for name, parameter in model.named_parameters():
        if (grad := parameter.grad) is not None:
            grad = grad.full_tensor() if isinstance(grad, DTensor) else grad
            found[name.removeprefix("module.")] = grad.float().numpy()
    return found


def test_of_two_processes_one_is_short_of_memory_and_both_go_on() -> None:
    alone, runs = of_a_step(10_000), in_two_processes(lambda: of_a_step(10_000, short=64))
    for run in runs:
        # Both take less, and the gradient is still that of the whole step.
        assert run.pop("tokens") <= 64
        assert run.pop("passes") > 2
        run.pop("whole")
        for name, value in run.items():
            np.testing.assert_allclose(value, alone[name], rtol=1e-4, atol=1e-6)


def error_of(found: Step, exact: Step) -> float:
    both = [(found[n], exact[n]) for n in exact if n.startswith("model.")]
    wrong = sum(((one - other) ** 2).sum() for one, other in both)
    return float(wrong / sum((other**2).sum() for _, other in both)) ** 0.5


def on_grid(found: Step) -> float:
    """The share of the gradient's numbers that bf16 has."""
    values = torch.cat([torch.from_numpy(v).flatten() for n, v in found.items() if "model." in n])
    values = values[values != 0]
    return float((values.bfloat16().float() == values).float().mean())


def test_sharded_gradients_in_bf16_are_added_up_in_float32_and_never_whole() -> None:
    exact, rounded = of_a_step(10_000), of_a_step(60, precision="bf16")
    for tokens in (60, 10_000):
        runs = in_two_processes(partial(of_a_step, tokens, shards=True, precision="bf16"))
        for run in runs:
            assert (run["passes"] > 1) == (tokens == 60)
            assert run["whole"] == 0
            assert error_of(run, exact) < 1.5 * error_of(rounded, exact)
            assert on_grid(run) < 0.5
            np.testing.assert_allclose(run["loss"], exact["loss"], rtol=0.01)
