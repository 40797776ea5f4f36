"""The gradient of a step, however memory makes it be cut."""

import copy
import multiprocessing
import os
from dataclasses import replace
from multiprocessing.queues import Queue
from socket import socket

import naive
import numpy as np
import pytest
import sessions
import torch
from scorers import PACKED, Small
from settings import train

from preference.core.errors import InputError
from preference.model.scorer import ResponseLogps
from preference.objectives import sft
from preference.objectives.mismatched import mismatched
from preference.objectives.registry import named
from preference.store.examples import Examples
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
        loss, *_ = gradients.leave(np.arange(10))
        found.append((loss, {name: p.grad for name, p in scorer.named_parameters()}))
    assert small.refused
    assert "out of memory: micro-batches of" in caplog.text
    (expected, grads), (loss, others) = found
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, grad in grads.items():
        torch.testing.assert_close(others[name], grad, rtol=1e-4, atol=1e-6)
    small.tokens = 5
    with pytest.raises(InputError, match="test: out of memory with one item at a time"):
        gradients.leave(np.arange(10))


def test_a_statistic_of_each_item_goes_with_the_parts_items(pairs: Examples) -> None:
    task = replace(sft.task(pairs), statistic=lambda logps, counts, index: torch.tensor(index))
    gradients = Gradients(ResponseLogps(naive.gpt2(), PACKED), task, "packed", sessions.make())
    index = np.array([3, 1, 2])
    found = gradients._statistics(index, [index[2:], index[:2], index[:0]])
    # An empty part, which one process may have, takes part with the first item.
    assert [part.tolist() for part in found if part is not None] == [[2], [3, 1], [3]]


# Models by their seeds, so that the estimate is above 0.
POLICY, REFERENCE = 2, 1
INDEX = np.arange(3, 16)
Found = tuple[int, float, list[float]]


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
    loss, *_ = Gradients(model, task, "packed", session).leave(INDEX)
    (total,) = session.agree(loss).totals
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return session.accelerator.num_processes, total, gradient.tolist()


def in_two_processes(tokens: int) -> list[Found]:
    """`divided` in each of two, which gloo connects."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    # They have all that is imported here already.
    context = multiprocessing.get_context("fork")
    results: Queue[Found] = context.Queue()

    def work(rank: str) -> None:
        os.environ.update(there, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank)
        results.put(divided(tokens))

    started = [context.Process(target=work, args=(rank,)) for rank in "01"]
    for process in started:
        process.start()
    found = [results.get(timeout=300) for _ in started]
    for process in started:
        process.join()
    return found


def test_kto_with_its_kl_term_is_one_loss_however_the_step_is_divided() -> None:
    """In one micro-batch, in many, and in two processes: that of the whole step, one by one."""
    (anchors, apart), (policy, others) = scored(REFERENCE), scored(POLICY)
    kl = (others.logps - apart.logps)[INDEX].mean()
    assert kl > 0.1
    above = 0.5 * ((policy.logps - anchors.logps)[INDEX] - kl)
    losses = 1 - 1 / (1 + np.exp(-np.where(INDEX % 2 == 0, above, -above)))
    runs = [*map(divided, (10_000, 60, 1)), *in_two_processes(60)]
    assert [processes for processes, *_ in runs] == [1, 1, 1, 2, 2]
    for _, loss, gradient in runs:
        assert loss == pytest.approx(losses.mean(), rel=1e-6)
        np.testing.assert_allclose(gradient, runs[0][2], rtol=1e-6, atol=1e-7)
