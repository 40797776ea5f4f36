"""Training curves by step and test metrics by epoch, as DVCLive writes them for `dvc plots`.

While training is at work they grow in `live/NAME`, where a dvc.yaml of their own shows them to
`dvc plots show` and to DVC's editor extension.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from preference.core.errors import InputError
from preference.core.files import remove, replacing
from preference.core.imports import without
from preference.runtime.checkpoints import CURVES
from preference.runtime.session import Session
from preference.store.scores import Metrics
from preference.store.text import write_text

with without("pandas", "dvclive"):  # only its tables of data points use it
    from dvclive import Live

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LIVE, BOARD = Path("live"), Path("tensorboard")
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
        InputError: TensorBoard is wanted and not installed.
    """

    def __init__(
        self, directory: Path, session: Session, found: Path | None = None, step: int = 0
    ) -> None:
        self.step = step
        self.place = LIVE / directory.name
        self._whole = ExitStack()
        self._live: dict[str, Live] = {}
        self._board: SummaryWriter | None = None
        if session.accelerator.is_main_process:
            if session.runtime.tensorboard:
                self._board = _board(BOARD / directory.name, step, anew=found is None)
            self._whole.enter_context(replacing(directory, self.place))
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
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{axis}/{name}", value, x)

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
        if self._board is not None:
            self._board.close()
        if self._live:
            remove(self.place / PLOTS)
        self._whole.__exit__(kind, error, traceback)


def _board(place: Path, step: int, *, anew: bool) -> "SummaryWriter":
    try:
        # Few want it, and its import is slow.
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"params.yaml: runtime.tensorboard: it cannot be imported ({error}); pip install "
            "tensorboard, or set it to false"
        ) from None
    if anew:
        remove(place)
    # What an interrupted run wrote after its last checkpoint is told again.
    return SummaryWriter(str(place), purge_step=step + 1)
