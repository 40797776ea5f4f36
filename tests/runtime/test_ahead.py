"""A thread that works ahead: order, overlap, errors, and its end."""

import math
import threading
from contextlib import closing
from itertools import count

import pytest
import torch

from preference.runtime.ahead import Numbers, made_ahead


def threads() -> int:
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_all_come_in_their_order() -> None:
    assert list(made_ahead(lambda x: x**2, range(20))) == [x**2 for x in range(20)]
    assert list(made_ahead(lambda x: x, [])) == []
    assert threads() == 0


def test_the_next_one_is_made_while_the_caller_works_with_one() -> None:
    made = [threading.Event() for _ in range(5)]

    def make(x: int) -> int:
        made[x].set()
        return x

    for x in made_ahead(make, range(4)):
        # The caller works until the next one is there.
        assert x == 3 or made[x + 1].wait(60)
        # No more than that: what is ahead takes memory.
        assert not made[x + 2].is_set() if x < 3 else True


def test_an_error_is_raised_where_its_result_would_have_come() -> None:
    ahead = made_ahead(lambda x: 1 / (2 - x), count())
    assert [next(ahead), next(ahead)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    assert threads() == 0


def test_closing_ends_the_thread() -> None:
    with closing(made_ahead(lambda x: x, count())) as ahead:
        assert next(ahead) == 0
        assert threads() == 1
    assert threads() == 0


def test_a_signal_ends_the_thread() -> None:
    def work() -> None:
        with closing(made_ahead(lambda x: x, count())) as ahead:
            for x in ahead:
                if x == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert threads() == 0


def test_numbers_are_read_as_they_were() -> None:
    values = torch.tensor([0.1, float("nan"), -3.0], dtype=torch.float64)
    first, bad, last = Numbers(values).read
    assert (first, last) == (0.1, -3.0)
    assert math.isnan(bad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_numbers_of_a_gpu_wait_for_no_later_work() -> None:
    product = torch.randn(8192, 8192, device="cuda")
    numbers = Numbers(torch.ones(3, device="cuda") * 2)
    for _ in range(50):
        product = product @ product
    assert numbers.read == [2, 2, 2]
    assert not torch.cuda.current_stream().query()
