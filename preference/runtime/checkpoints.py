"""What a killed run needs to go on: its state, kept beside the pipeline's outputs until it is done.

A checkpoint is a directory `.checkpoints/STAGE/KEY/STEP`. KEY stands for everything that determines
the run, so that a checkpoint is found again only by the run that would have come to the same state.
In it each process has a part, which it writes, seals and looks through by itself: weights that are
divided stay divided. Only when all parts are whole is the directory moved to its place.
"""

import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch.optim.lr_scheduler import LRScheduler

from preference.core.errors import first_line
from preference.core.files import remove, replacing, temporary_of
from preference.runtime import devices, processes, state
from preference.store import checksums
from preference.store.text import write_json

ROOT = Path(".checkpoints")
KEPT = 2  # should the last one turn out damaged, there is the one before
POSITION, CURVES, ARRAY = "position.json", "curves", "array.npy"
VERSIONS = ("torch", "transformers", "accelerate", "peft", "numpy")


@dataclass(frozen=True)
class Position:
    """Where training stands: in which epoch, how many of its steps are done, and steps in all."""

    epoch: int = 0
    done: int = 0
    step: int = 0


class Checkpoints:
    """What a stage keeps of its long work, until it is `done`.

    Args:
        stage: names the directory, and the messages.
        minutes: between two checkpoints; 0 makes one at every occasion, None none at all.
        determined_by: params that the result depends on.
        inputs: files and directories that it depends on.
    """

    def __init__(
        self,
        stage: str,
        accelerator: Accelerator,
        *,
        minutes: float | None = None,
        determined_by: Iterable[object] = (),
        inputs: Iterable[Path] = (),
    ) -> None:
        self.stage, self.minutes = stage, minutes
        self._accelerator = accelerator
        self._last = time.monotonic()
        key = None
        if accelerator.is_main_process and minutes is not None:
            key = _key(accelerator, determined_by, inputs)
        key = processes.agreed(accelerator, key)
        self.place = ROOT / stage / str(key)

    @property
    def newest(self) -> Path | None:
        """What this run would go on from, if it were started again."""
        return next(iter(self._all()), None)

    def kept(self) -> str:
        """The newest checkpoint, as the end of an error message."""
        newest = self.newest
        return "" if newest is None else f"; the last good state is kept in {newest}"

    def due(self) -> bool:
        """Whether it is time for the next one, by this process's clock."""
        return self.minutes is not None and time.monotonic() - self._last >= 60 * self.minutes

    def resume(self, schedule: LRScheduler) -> tuple[Path | None, Position]:
        """Take what is trained, optimizer, schedule and random numbers back to the newest one.

        All processes take part.

        Returns:
            Where the main process's part of it is, and its position; none and the beginning where
            there is none that is whole.
        """
        found = next((p for p in self._whole() if p.name.isdigit()), None)
        if found is None:
            return None, Position()
        main = _part(found, 0)
        kept = json.loads((main / POSITION).read_text())
        position = Position(**kept["position"])
        logging.info("%s: goes on after step %d, from %s", self.stage, position.step, found)
        state.read(self._accelerator, schedule.optimizer, self._own(found), main)
        schedule.load_state_dict(kept["schedule"])
        return main, position

    def save(self, position: Position, schedule: LRScheduler, curves: Path) -> Position:
        """Keep the state of training at `position`, which is returned; all processes take part."""
        if self.minutes is None:
            return position
        with self._writing(f"{position.step:09d}") as own:
            state.write(self._accelerator, schedule.optimizer, own)
            if self._accelerator.is_main_process:
                shutil.copytree(curves, own / CURVES)
                # Functions of Python are no part of it.
                kept = schedule.state_dict() | {"lr_lambdas": [None]}
                write_json(own / POSITION, {"position": asdict(position), "schedule": kept})
        return position

    def array(self, name: str) -> np.ndarray | None:
        """What `save_array` kept last under this name, on each process; all take part."""
        place = next((p for p in self._whole() if p.name.startswith(f"{name}-")), None)
        found: np.ndarray | None = None
        if place is not None and self._accelerator.is_main_process:
            found = np.load(self._own(place) / ARRAY, allow_pickle=False)
        return processes.agreed(self._accelerator, found)

    def save_array(self, name: str, number: int, values: np.ndarray) -> None:
        """Keep an array, the newest by `number`; all processes take part."""
        if self.minutes is None:
            return
        with self._writing(f"{name}-{number:09d}") as own:
            if self._accelerator.is_main_process:
                np.save(own / ARRAY, values)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """This process's part of what is a checkpoint once all are whole and sealed.

        Older ones are dropped. A disk that is full costs the checkpoint, and not the run.
        """
        place, main = self.place / name, self._accelerator.is_main_process
        try:
            with replacing(place) if main else nullcontext(temporary_of(place)) as temporary:
                # What a killed run left is gone by then.
                self._accelerator.wait_for_everyone()
                own = self._own(temporary)
                own.mkdir(parents=True)
                yield own
                checksums.seal(own)
                self._accelerator.wait_for_everyone()
        except Exception as error:
            # What the libraries raise where a disk is full has no class in common. Of several
            # processes, the others would wait for this one for ever.
            if self._accelerator.num_processes > 1:
                raise
            logging.warning("%s: no checkpoint could be written: %s", self.stage, first_line(error))
        # A save may take longer than is to pass between two.
        self._last = time.monotonic()
        same = [p for p in self._all() if p.name[:-9] == name[:-9]]
        for old in same[KEPT:] if main else []:
            remove(old)

    def done(self) -> None:
        """Forget what this stage has kept, for this run or another."""
        if self._accelerator.is_main_process:
            remove(ROOT / self.stage)

    def _all(self) -> list[Path]:
        """Newest first."""
        return sorted((p for p in self.place.glob("[!.]*") if p.is_dir()), reverse=True)

    def _whole(self) -> Iterator[Path]:
        """Those that no process finds its part of damaged, newest first; all take part."""
        if self.minutes is None:
            return
        for place in processes.agreed(self._accelerator, self._all()):
            if processes.anywhere(self._accelerator, bool(checksums.differing(self._own(place)))):
                logging.warning("%s: checkpoint %s is damaged and passed over", self.stage, place)
            else:
                yield place

    def _own(self, place: Path) -> Path:
        return _part(place, self._accelerator.process_index)


def _part(place: Path, process: int) -> Path:
    """What one process keeps of a checkpoint."""
    return place / f"{process:05d}"


def _key(accelerator: Accelerator, determined_by: Iterable[object], inputs: Iterable[Path]) -> str:
    """A digest of what determines a run: params, inputs, code, versions, devices."""
    modules = [
        module
        for name, module in sys.modules.items()
        # What lies in core says how to compute, and never what.
        if name.partition(".")[0] in ("preference", "stages", "__main__")
        and not name.startswith("preference.core.")
    ]
    code = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    facts: list[Any] = [
        [repr(value) for value in determined_by],
        [
            checksums.of_directory(path) if path.is_dir() else checksums.of_file(path)
            for path in inputs
        ],
        sorted(checksums.of_file(file) for file in code),
        [version(name) for name in VERSIONS],
        devices.context(accelerator),
        [accelerator.num_processes, str(accelerator.distributed_type)],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
