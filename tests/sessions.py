"""Sessions on a CPU, for tests that train or score without a stage around them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import settings
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration
from gloo import shard

from preference.core.params import Runtime
from preference.runtime import devices
from preference.runtime.checkpoints import Checkpoints
from preference.runtime.session import Session


def make(
    tokens_per_batch: int = 10_000,
    *,
    seed: int = 1,
    precision: str = "no",
    minutes: float | None = None,
    determined_by: Sequence[object] = (),
    trackers: Sequence[str] = (),
    shards: bool = False,
) -> Session:
    """A session called `test`; its checkpoints are a context of their own.

    Args:
        shards: divide the weights among the processes.
    """
    AcceleratorState._reset_state(True)
    runtime = Runtime.model_validate({"device": "cpu", "trackers": list(trackers)})
    accelerator = Accelerator(
        cpu=True,
        mixed_precision=precision,
        log_with=devices.trackers(runtime) or None,
        kwargs_handlers=devices.handlers(),
        project_config=ProjectConfiguration(logging_dir="."),
    )
    if shards:
        shard(accelerator)
    params = settings.params("fp32", "cpu").model_copy(update={"seed": seed, "runtime": runtime})
    checkpoints = Checkpoints("test", accelerator, minutes=minutes, determined_by=determined_by)
    return Session("test", params, accelerator, checkpoints, tokens_per_batch)


@contextmanager
def opened(session: Session) -> Iterator[Session]:
    """Left without an error, its work is done."""
    yield session
    session.checkpoints.done()
