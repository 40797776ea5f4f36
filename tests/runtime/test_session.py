"""A session: what its processes agree on, smaller micro-batches, and what it leaves behind."""

import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sessions
import settings
import torch
from gloo import in_two_processes, shard
from meters import Meter

from preference.core import signals
from preference.core.errors import InputError
from preference.runtime import session
from preference.runtime.checkpoints import ROOT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_goes_on_until_a_signal_asks() -> None:
    made, told = sessions.make(minutes=5), []

    def work() -> None:
        with made.held():
            told.append(made.agree(1.5, -2.0))
            signal.raise_signal(signal.SIGTERM)
            told.append(made.agree(1.5))
            made.stop_if_asked()

    with pytest.raises(signals.Stopped, match="SIGTERM"):
        work()
    # What is asked to stop keeps its state first.
    assert told == [([1.5, -2.0], False, False), ([1.5], True, True)]
    with pytest.raises(signals.Stopped):
        made.stop_if_asked()


def test_the_state_is_due_by_the_clock() -> None:
    assert sessions.make(minutes=0).agree().due
    assert not sessions.make(minutes=5).agree().due
    assert not sessions.make(minutes=None).agree().due


def test_out_of_memory_halves_what_was_tried() -> None:
    made, error = sessions.make(1000), torch.OutOfMemoryError("CUDA out of memory. Tried")
    made.require_out_of_memory(error, alone=False)
    made.halve(3000, single=False)
    assert made.tokens_per_batch == 500
    made.halve(100, single=False)
    assert made.tokens_per_batch == 50
    with pytest.raises(InputError, match="test: out of memory with one item at a time"):
        made.halve(100, single=True)


def test_room_is_made_where_there_is_a_meter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made, sizes = sessions.make(1000), np.full((20, 2), (1, 100))
    made.make_room(lambda index: pytest.fail("nothing is to be measured"), sizes)
    assert (made.tokens_per_batch, caplog.messages) == (1000, [])
    made.meter = Meter(10**7)
    made.make_room(lambda index: torch.empty(100 * len(index), 2**13, dtype=torch.uint8), sizes)
    assert made.tokens_per_batch == 1037
    assert caplog.messages == ["micro-batches of 1037 tokens: 0.01 MB a token, 0.0 GB free"]
    made.make_room(short, sizes)
    assert made.tokens_per_batch == 1


def short(index: np.ndarray) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried")


def room_in_two() -> int:
    made = sessions.make(1000)
    # The second process has less.
    made.meter = Meter(10**6 if made.accelerator.process_index else 10**7)
    run = partial(torch.empty, 2**20, dtype=torch.uint8)
    made.make_room(lambda index: run(), np.full((20, 2), (1, 100)))
    return made.tokens_per_batch


def test_room_is_that_of_the_process_that_has_least() -> None:
    assert in_two_processes(room_in_two) == [1, 1]


def test_other_errors_are_not_mended() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        sessions.make().require_out_of_memory(RuntimeError("something else"), alone=True)


def out_of_memory_in_two(alone: bool, shards: bool) -> str:
    made = sessions.make(1000)
    if shards:
        shard(made.accelerator)
    try:
        error = torch.OutOfMemoryError("CUDA out of memory. Tried")
        made.require_out_of_memory(error, alone=alone)
    except InputError as told:
        return str(told)
    return ""


@pytest.mark.parametrize(("alone", "shards"), [(True, False), (False, False), (True, True)])
def test_others_that_wait_in_the_middle_of_a_pass_are_not_left_waiting(
    alone: bool, shards: bool
) -> None:
    told = in_two_processes(lambda: out_of_memory_in_two(alone, shards))
    if alone and not shards:
        assert told == ["", ""]
    else:
        assert told[1].startswith("test: out of memory on process 1, in the middle of a pass")
        assert "runtime.tokens_per_batch in params.yaml to less than 1000" in told[1]


def test_a_missing_input_is_named() -> None:
    with (
        pytest.raises(InputError, match="models/base: no such file or directory; run dvc repro"),
        session.opened("stage", settings.params("fp32", "cpu"), [Path("models/base")]),
    ):
        pass


def test_what_it_has_kept_goes_at_its_end_and_stays_on_errors() -> None:
    asked = settings.params("fp32", "cpu")
    kept = ROOT / "stage"
    with suppress(KeyError), session.opened("stage", asked, []):
        kept.mkdir(parents=True)
        raise KeyError
    assert kept.exists()
    with session.opened("stage", asked, []) as run:
        assert (run.stage, run.params, run.runtime) == ("stage", asked, asked.runtime)
        assert run.tokens_per_batch > 0
    assert not kept.exists()
