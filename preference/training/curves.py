"""Training curves by step and test metrics by epoch, as DVCLive writes them for `dvc plots`.

Their files bear the names of metrics, which objectives differ in: DVC caches the directory whole,
and git never sees a file that another objective left.

While training is at work they grow in `live/NAME`, where a dvc.yaml of their own shows them to
`dvc plots show` and to DVC's editor extension.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from preference.core.files import remove, replacing
from preference.core.imports import without
from preference.runtime.checkpoints import CURVES
from preference.runtime.session import Session
from preference.store.scores import Metrics
from preference.store.text import write_text
from preference.training.trackers import RUN, Trackers

with without("pandas", "dvclive"):  # only its tables of data points use it
    from dvclive import Live

LIVE = Path("live")
AXES = ("steps", "epochs")
PLOTS = "dvc.yaml"


class Curves:
    """A context: `steps/` and `epochs/` under the directory, one `.tsv` a metric.

    Two loggers, because each has one x axis. Without an error the directory takes the place of an
    earlier one at the end. Of several processes only one writes; in the others nothing happens.

    Args:
        directory: where the curves will stand.
        found: the checkpoint of an interrupted run, whose curves these go on.
        step: the last step in them.

    Raises:
        InputError: a tracker that params ask for cannot be started.
    """

    def __init__(
        self, directory: Path, session: Session, found: Path | None = None, step: int = 0
    ) -> None:
        self.step = step
        self.place = LIVE / directory.name
        self._live: dict[str, Live] = {}
        self._trackers: Trackers | None = None
        with ExitStack() as opening:
            if session.accelerator.is_main_process:
                opening.enter_context(replacing(directory, self.place))
                self._open(found)
                self._trackers = Trackers(session, directory.name, self.place, step)
            self._whole = opening.pop_all()

    def _open(self, found: Path | None) -> None:
        if found is not None:
            shutil.copytree(found / CURVES, self.place)
        plots = "".join(f"- {axis}/plots/metrics: {{x: step}}\n" for axis in AXES)
        write_text(self.place / PLOTS, f"plots:\n{plots}")
        for axis in AXES:
            self._live[axis] = Live(
                str(self.place / axis),
                resume=found is not None,
                save_dvc_exp=False,
                dvcyaml=None,
            )

    def add_step(self, values: Metrics) -> None:
        self.step += 1
        self._add("steps", self.step, values)
        self._tell({f"train/{name}": value for name, value in values.items()})

    def add_epoch(self, epoch: float, metrics: Metrics) -> None:
        """Test metrics after an epoch, or a part of one; epoch 0 is before training."""
        self._add("epochs", epoch, metrics)
        self._tell({f"eval/{name}": value for name, value in metrics.items()} | {"epoch": epoch})

    def _add(self, axis: str, x: float, values: Mapping[str, float]) -> None:
        live = self._live.get(axis)
        if live is not None:
            live.step = x
            for name, value in values.items():
                live.log_metric(name, value)
            live.make_summary()

    def _tell(self, values: Mapping[str, float]) -> None:
        if self._trackers is not None:
            self._trackers.log(values, self.step)

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
        if self._trackers is not None:
            self._trackers.end()
        for beside in (PLOTS, RUN) if self._live else ():
            remove(self.place / beside)
        self._whole.__exit__(kind, error, traceback)
