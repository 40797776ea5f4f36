"""Which weights of a training become its model: the last, or those of the best epoch."""

import json
import logging
import math
import shutil
from pathlib import Path

from torch import nn

from preference.core.files import remove, replacing
from preference.model import saving
from preference.runtime import processes
from preference.runtime.session import Session
from preference.store.scores import Metrics
from preference.store.text import write_json


class Keeper:
    """Saves a trained model, once it is finished.

    The best epoch is the one with the highest `pair_acc`, or, of data without pairs, the lowest
    loss; of several the first. Its weights wait among the stage's checkpoints, so that a run that
    was interrupted knows them still.

    Args:
        came_from: the directory that training began with.
        out: where the model will stand.
        best: keep the best epoch's weights, instead of the last ones.
    """

    def __init__(self, session: Session, came_from: Path, out: Path, *, best: bool = False) -> None:
        self._session, self._came_from, self._out, self._best = session, came_from, out, best
        self._place = session.checkpoints.place / ".best"
        self._note = self._place.with_suffix(".json")
        found = -math.inf
        # Without checkpoints no run goes on: what is there is another one's.
        goes_on = best and session.checkpoints.minutes is not None
        if goes_on and session.accelerator.is_main_process and self._note.exists():
            found = json.loads(self._note.read_text(encoding="utf-8"))["value"]
        self._value = processes.agreed(session.accelerator, found)

    def judged(self, model: nn.Module, metrics: Metrics) -> Metrics:
        """Keep the weights that an epoch came to, if they are the best so far; its metrics."""
        accuracy = metrics["pair_acc"]
        value = -metrics["loss"] if math.isnan(accuracy) else accuracy
        if self._best and value > self._value:
            self._value = value
            saving.save(self._session.accelerator, model, self._came_from, self._place)
            if self._session.accelerator.is_main_process:
                write_json(self._note, {"value": value})
        return metrics

    def finish(self, model: nn.Module) -> None:
        """Save the model; all processes take part."""
        accelerator = self._session.accelerator
        if not self._best or self._value == -math.inf:
            saving.save(accelerator, model, self._came_from, self._out)
        elif accelerator.is_main_process:
            logging.info("%s: keeps the best epoch's weights", self._session.stage)
            with replacing(self._out) as temporary:
                shutil.copytree(self._place, temporary)
            remove(self._place)
            remove(self._note)
