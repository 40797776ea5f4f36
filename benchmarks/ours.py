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
        options: `train.kto`'s, where they differ from the default.
    """
    settings = params.load(workload.params)
    asked: dict[str, object] = {"kto": settings.train.kto.model_dump() | options}
    if work in params.OBJECTIVES:
        asked["objective"] = work
    train = params.Train.model_validate(settings.train.model_dump() | asked)
    runtime = settings.runtime.model_copy(update={"checkpoint_minutes": None})
    changes = {"precision": precision, "train": train, "runtime": runtime}
    settings = settings.model_copy(update=changes)
    examples = workload.prepared()
    with session.opened(work, settings, []) as run:
        scorer = open_model(workload.model, examples.longest, run, to_train=True)
        start = time.perf_counter()
        reference = score(scorer, examples, run, "score")
        scored = time.perf_counter() - start
        if work == "scoring":
            return Measured(seconds=scored)
        task = losses.task(examples, reference, settings)
        with TemporaryDirectory() as directory:
            start = time.perf_counter()
            loop.fit(
                scorer,
                task,
                settings.train,
                run,
                evaluate=lambda model: {},
                curves=Path(directory) / "curves",
            )
            return Measured(seconds=time.perf_counter() - start, reference_seconds=scored)
