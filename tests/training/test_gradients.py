"""The gradient of a step, however memory makes it be cut."""

import copy
from dataclasses import replace

import naive
import numpy as np
import pytest
import sessions
import torch
from scorers import PACKED, Small

from preference.core.errors import InputError
from preference.model.scorer import ResponseLogps
from preference.objectives import sft
from preference.store.examples import Examples
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
