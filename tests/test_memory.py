"""What a split of many pairs takes in memory: next to nothing of its own."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import settings

from benchmarks import flat
from preference import losses
from preference.model import batches
from preference.objectives import sft
from preference.objectives.objective import Task
from preference.store import examples, scores
from preference.store.examples import Ragged
from preference.store.index import shuffled
from preference.store.scores import Scores

PAIRS = 30_000
PREPARED, SCORES = Path("prepared.parquet"), Path("scores.parquet")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tables")
    index = flat.write_prepared(place / PREPARED, PAIRS)
    logps, tokens = -np.arange(2.0 * PAIRS), np.ones(2 * PAIRS, int)
    scores.write(place / SCORES, Scores(index, logps, tokens))
    return place


def dpo(place: Path) -> Task:
    asked = settings.params("fp32", "cpu")
    return losses.task(examples.read(place / PREPARED), scores.read(place / SCORES), asked)


def kto(place: Path) -> Task:
    asked = settings.params("fp32", "cpu")
    train = settings.train(objective="kto", label_noise=0.1)
    asked = asked.model_copy(update={"train": train})
    return losses.task(examples.read(place / PREPARED), scores.read(place / SCORES), asked)


def warmed_up(place: Path) -> Task:
    return sft.task(examples.read(place / PREPARED))


@pytest.mark.parametrize(("make", "most"), [(dpo, 6), (kto, 16), (warmed_up, 16)])
def test_a_pair_takes_a_few_bytes_in_memory(
    make: Callable[[Path], Task], most: int, written: Path
) -> None:
    """With the order of an epoch and what is looked at of steps; 2 MB are for these and digests."""

    def look() -> None:
        task = make(written)
        assert task.examples.longest <= sum(flat.LONGEST)
        order = shuffled(len(task.items), 1)
        for step in (order[:16], order[-16:]):
            rows = Ragged.even(task.items[step])
            batches.shapes(task.examples, rows, "packed")
            batches.make(task.examples, task.items[step], "packed")
            task.weights(step)

    # What libraries keep from the first time on is no pair's.
    look()
    tracemalloc.start()
    look()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21 + most * PAIRS


@pytest.mark.long
@pytest.mark.parametrize("stage", ["train", "sft_warmup"])
def test_memory_and_the_time_of_a_step_do_not_grow_with_the_pairs(
    stage: str, tmp_path: Path
) -> None:
    places = {pairs: tmp_path / str(pairs) for pairs in (1_000, 100_000)}
    for pairs, place in places.items():
        flat.make(place, pairs)
    few, many = flat.measure(places, stage, rounds=1)
    for kind in ("anew", "mapped"):
        assert many[f"{kind}_anonymous_bytes"] < few[f"{kind}_anonymous_bytes"] + 50e6
        # On a machine with other work to do; by pair it would be a hundred times as long.
        assert many[f"{kind}_step_seconds"] < 3 * few[f"{kind}_step_seconds"]
