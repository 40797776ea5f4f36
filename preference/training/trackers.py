"""A run as experiment trackers show it: wandb, mlflow, tensorboard, trackio, by accelerate.

The curves under `results/` are the record; what is told to a tracker is for people to follow, and
no tracker's trouble ends a training.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from preference.core.errors import InputError, first_line
from preference.core.paths import project
from preference.core.sections import flat
from preference.runtime.session import Session
from preference.store.text import write_json

PROJECT, BOARD = "preference", Path("tensorboard")
# How the trackers call the run, beside its curves: a checkpoint takes it along.
RUN = "run.json"


class Trackers:
    """Those that `runtime.trackers` names, with one run in each; on the main process alone.

    Args:
        name: of the stage, as the run's name begins.
        place: the curves' directory; what it has of an interrupted run is gone on with.
        step: the last one that is told already.

    Raises:
        InputError: one cannot be started.
    """

    def __init__(self, session: Session, name: str, place: Path, step: int) -> None:
        self._accelerator, self._wanted = session.accelerator, session.runtime.trackers
        if not self._wanted:
            return
        self._config = _config(session)
        file = place / RUN
        try:
            if file.exists():
                try:
                    self._start(json.loads(file.read_text(encoding="utf-8")), step)
                except Exception as error:
                    # Of a service that no longer has it, say.
                    logging.warning("trackers: a new run is begun (%s)", first_line(error))
                    self.end()
                else:
                    return
            write_json(file, self._start({"name": _name(name)}))
        except Exception as error:
            self.end()
            raise InputError(
                f"params.yaml: runtime.trackers: {', '.join(self._wanted)} cannot be started "
                f"({first_line(error)}); set up what it asks for, or leave it out"
            ) from None

    def _start(self, run: Mapping[str, str], step: int | None = None) -> dict[str, str]:
        """Begin a run, or go on with one after `step`; what names it from then on."""
        root, accelerator = project(), self._accelerator
        if root != Path.cwd():
            # A copy that an experiment runs in is removed, and must not take the runs along.
            os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        own = {
            "wandb": {
                "name": run["name"],
                "id": run["name"],
                "resume": "allow",
                "dir": os.environ.get("WANDB_DIR", str(root)),
            },
            "mlflow": {"run_name": run["name"], "run_id": run.get("mlflow")},
            # What was told after the last checkpoint is told again.
            "tensorboard": {} if step is None else {"purge_step": step + 1},
            # It keeps no config that comes later, as accelerate's does.
            "trackio": {"name": run["name"], "resume": "allow", "config": self._config},
        }
        accelerator.project_configuration.logging_dir = str(root / BOARD / run["name"])
        # A run that is gone on with has its params, which MLflow lets nobody change.
        accelerator.init_trackers(PROJECT, self._config if step is None else None, own)
        found = {"name": run["name"]}
        if "mlflow" in self._wanted:
            found["mlflow"] = accelerator.get_tracker("mlflow", unwrap=True).info.run_id
        return found

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell all of them; one that fails is told nothing more."""
        for tracker in list(self._accelerator.trackers):
            try:
                tracker.log(dict(values), step=step)
            except Exception as error:
                logging.warning("%s: not told any further (%s)", tracker.name, first_line(error))
                self._accelerator.trackers.remove(tracker)

    def end(self) -> None:
        """Let each write what it holds back.

        `Accelerator.end_training` would part the processes as well, which have work left to do.
        """
        for tracker in self._accelerator.trackers:
            with suppress(Exception):
                tracker.finish()
        self._accelerator.trackers.clear()


def _name(stage: str) -> str:
    """A run's name: the experiment's, if it is one, the stage's, and when it began."""
    names = [os.environ.get("DVC_EXP_NAME"), stage, time.strftime("%Y%m%d-%H%M%S")]
    return "-".join(filter(None, names))


def _config(session: Session) -> dict[str, Any]:
    """All params by dotted key; what no tracker takes as a value is told as in a YAML file."""
    plain = (bool, int, float, str)
    return {
        key: value if isinstance(value, plain) else json.dumps(value)
        for key, value in flat(session.params)
    }
