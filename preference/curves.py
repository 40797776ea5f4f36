"""Training curves by step and test metrics by epoch, as DVCLive writes them for `dvc plots`."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from preference.files import replacing
from preference.metrics import Metrics
from preference.optional import without

with without("pandas"):  # only its tables of data points use it
    from dvclive import Live


class Curves:
    """A context: `steps/` and `epochs/` under the directory, one `.tsv` a metric.

    Two loggers, because each has one x axis. Without an error the directory takes the place of an
    earlier one at the end.
    """

    def __init__(self, directory: Path) -> None:
        self._whole = ExitStack()
        place = self._whole.enter_context(replacing(directory))
        self._steps, self._epochs = (
            Live(str(place / axis), save_dvc_exp=False, dvcyaml=None)
            for axis in ("steps", "epochs")
        )
        self._steps.step = self._epochs.step = 0

    @property
    def step(self) -> int:
        """Steps recorded so far."""
        return self._steps.step

    def add_step(self, **values: float) -> None:
        self._steps.step += 1
        for name, value in values.items():
            self._steps.log_metric(name, value)
        self._steps.make_summary()

    def add_epoch(self, epoch: int, metrics: Metrics) -> None:
        """Test metrics after an epoch; epoch 0 is before training."""
        self._epochs.step = epoch
        for name, value in metrics.items():
            self._epochs.log_metric(name, value)
        self._epochs.make_summary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._steps.end()
        self._epochs.end()
        self._whole.__exit__(kind, error, traceback)
