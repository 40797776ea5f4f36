"""This pipeline: its own training and scoring, as its stages call them."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measured import Measured
from benchmarks.workload import Workload
from preference.core import params
from preference.evaluation import scoring
from preference.objectives import registry
from preference.runtime import devices
from preference.runtime.checkpoints import Checkpoints
from preference.training import loop


def measure(work: str, workload: Workload, precision: str, options: dict[str, object]) -> Measured:
    """Train on the cached reference, or score; the reference's own time is `reference_seconds`.

    Args:
        options: `train.kto`'s, where they differ from the default.
    """
    settings = params.load(workload.params)
    asked: dict[str, object] = {"kto": settings.train.kto.model_dump() | options}
    if work in registry.OBJECTIVES:
        asked["objective"] = work
    train = params.Train.model_validate(settings.train.model_dump() | asked)
    settings = settings.model_copy(update={"precision": precision, "train": train})
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    pairs = workload.prepared()
    scorer = scoring.open_model(
        workload.model, pairs.longest, accelerator, settings.runtime, to_train=True
    )
    start = time.perf_counter()
    reference = scoring.score(scorer, pairs, accelerator, tokens_per_batch, "score")
    scored = time.perf_counter() - start
    if work == "scoring":
        return Measured(seconds=scored)
    objective = registry.OBJECTIVES[work](pairs, reference, settings.train, True, settings.seed)
    with TemporaryDirectory() as directory:
        start = time.perf_counter()
        loop.fit(
            scorer,
            objective,
            pairs,
            settings.train,
            accelerator,
            seed=settings.seed,
            tokens_per_batch=tokens_per_batch,
            evaluate=lambda model: {},
            curves=Path(directory) / "curves",
            description=work,
            checkpoints=Checkpoints(work, accelerator),
        )
        return Measured(seconds=time.perf_counter() - start, reference_seconds=scored)
