"""This pipeline: its own training and scoring, as its stages call them."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measured import Measured
from benchmarks.workload import Workload
from preference import losses
from preference.core import params
from preference.evaluation.scoring import score
from preference.model.scorer import open_model
from preference.runtime import session
from preference.training import loop


def measure(work: str, workload: Workload, precision: str, options: dict[str, object]) -> Measured:
    """Train on the cached reference, or score; the reference's own time is `reference_seconds`.

    Args:
        options: `train.kto`'s and `runtime.compile`, where they differ from the default.
    """
    settings = params.load(workload.params)
    here: dict[str, object] = {"checkpoint_minutes": None}
    here |= {name: value for name, value in options.items() if name == "compile"}
    kto = {name: value for name, value in options.items() if name != "compile"}
    asked: dict[str, object] = {"kto": settings.train.kto.model_dump() | kto}
    if work in params.OBJECTIVES:
        asked["objective"] = work
    train = params.Train.model_validate(settings.train.model_dump() | asked)
    runtime = settings.runtime.model_copy(update=here)
    changes = {"precision": precision, "train": train, "runtime": runtime}
    settings = settings.model_copy(update=changes)
    examples = workload.prepared()
    with session.opened(work, settings, []) as run:
        start = time.perf_counter()
        scorer = open_model(workload.model, examples.longest, run, to_train=True)
        opened = time.perf_counter() - start
        start = time.perf_counter()
        reference = score(scorer, examples, run, "score")
        scored = time.perf_counter() - start
        if work == "scoring":
            return Measured(seconds=scored)
        task = losses.task(examples, reference, settings)
        ends: list[float] = []

        def evaluate(_: object) -> dict[str, float]:
            ends.append(time.perf_counter())
            return {}

        with TemporaryDirectory() as directory:
            start = time.perf_counter()
            loop.fit(
                scorer,
                task,
                settings.train,
                run,
                evaluate=evaluate,
                curves=Path(directory) / "curves",
            )
            # The first is before any training.
            later = ends[-1] - ends[1]
            return Measured(time.perf_counter() - start, scored, opened, later)
