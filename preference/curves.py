"""Training curves by step and test metrics by epoch, as DVCLive writes them for `dvc plots`."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from preference.files import replacing, temporary_of
from preference.metrics import Metrics
from preference.optional import without

with without("pandas", "dvclive"):  # only its tables of data points use it
    from dvclive import Live


class Curves:
    """A context: `steps/` and `epochs/` under the directory, one `.tsv` a metric.

    Two loggers, because each has one x axis. Without an error the directory takes the place of an
    earlier one at the end. Of several processes only one writes; in the others nothing happens.

    Args:
        directory: where the curves will stand.
        writes: whether this process is the one.
        start: curves of an interrupted run, which these go on.
        step: the last step in them.
    """

    def __init__(
        self, directory: Path, *, writes: bool, start: Path | None = None, step: int = 0
    ) -> None:
        self.step = step
        self.place = temporary_of(directory)
        self._whole = ExitStack()
        self._live: dict[str, Live] = {}
        if writes:
            self._whole.enter_context(replacing(directory))
            if start is not None:
                shutil.copytree(start, self.place)
            for axis in ("steps", "epochs"):
                self._live[axis] = Live(
                    str(self.place / axis),
                    resume=start is not None,
                    save_dvc_exp=False,
                    dvcyaml=None,
                )

    def add_step(self, **values: float) -> None:
        self.step += 1
        self._add("steps", self.step, values)

    def add_epoch(self, epoch: int, metrics: Metrics) -> None:
        """Test metrics after an epoch; epoch 0 is before training."""
        self._add("epochs", epoch, metrics)

    def _add(self, axis: str, x: int, values: Mapping[str, float]) -> None:
        live = self._live.get(axis)
        if live is not None:
            live.step = x
            for name, value in values.items():
                live.log_metric(name, value)
            live.make_summary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for live in self._live.values():
            live.end()
        self._whole.__exit__(kind, error, traceback)
