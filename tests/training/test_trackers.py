"""What trackers are told, read back by their own clients from where they keep it without a network.

Each runs where its package is installed.
"""

import shutil
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sessions
from accelerate.tracking import get_available_trackers

from preference.core.errors import InputError
from preference.core.params import Runtime
from preference.runtime import devices
from preference.store.text import write_json
from preference.training.curves import Curves
from preference.training.trackers import RUN

DONE = Path("results/curves/train")
NAMES = ("wandb", "mlflow", "tensorboard", "trackio")
# What stands where: by metric, its (step, value) in order, without repetition.
Told = dict[str, list[tuple[int, float]]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, where every client keeps what it is told."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Read when it is imported, which is in the one test that uses it.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return tmp_path


def of_tensorboard(place: Path) -> tuple[Told, dict[str, str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (place / "tensorboard").glob("train-*")
    read = EventAccumulator(str(run / "preference"))
    read.Reload()
    told = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    (params,) = run.glob("preference/*/hparams.yml")
    return told, dict(line.split(": ") for line in params.read_text().splitlines())


def of_mlflow(place: Path) -> tuple[Told, dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("preference")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name.startswith("train-")
    assert run.info.status == "FINISHED"
    told = {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        told[name] = sorted({(entry.step, entry.value) for entry in history})
    return told, run.data.params


def records(data: bytes) -> Iterator[bytes]:
    """What a .wandb file holds: LevelDB's format of a log, after seven bytes of its own."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        # Whole, or the last part of one.
        if kind in (1, 4):
            yield record
            record = b""


def of_wandb(place: Path) -> tuple[Told, dict[str, str]]:
    from wandb.proto.wandb_internal_pb2 import Record

    told: dict[str, set[tuple[int, float]]] = defaultdict(set)
    params: dict[str, str] = {}
    files = sorted(place.glob("wandb/offline-run-*/run-*.wandb"))
    # The same run twice, which the service puts together.
    assert len({file.name for file in files}) == 1
    for data in [data for file in files for data in records(file.read_bytes())]:
        record = Record.FromString(data)
        for change in (*record.config.update, *record.run.config.update):
            params[change.key or ".".join(change.nested_key)] = change.value_json
        own = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
        for key in own.keys() - {"_step", "_runtime", "_timestamp"}:
            told[key].add((int(own["_step"]), float(own[key])))
    return {name: sorted(values) for name, values in told.items()}, params


def of_trackio(place: Path) -> tuple[Told, dict[str, str]]:
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = Api().runs("preference")
    assert run.name.startswith("train-")
    told: dict[str, set[tuple[int, float]]] = defaultdict(set)
    for entry in SQLiteStorage.get_logs("preference", run.name, run_id=run.id):
        for key in entry.keys() - {"step", "timestamp"}:
            told[key].add((entry["step"], entry[key]))
    assert (place / "trackio/preference.db").exists()
    return {name: sorted(values) for name, values in told.items()}, run.config


READERS: dict[str, Callable[[Path], tuple[Told, dict[str, str]]]] = {
    "wandb": of_wandb,
    "mlflow": of_mlflow,
    "tensorboard": of_tensorboard,
    "trackio": of_trackio,
}


@pytest.mark.parametrize("name", NAMES)
def test_its_client_has_all_and_an_interrupted_run_goes_on(name: str, place: Path) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
    with Curves(DONE, sessions.make(trackers=[name])) as curves:
        curves.add_epoch(0, {"margin": 0.25})
        curves.add_step({"loss": 0.5, "rewards/chosen": 1.5})
        kept = shutil.copytree(Path("live/train"), place / "checkpoint/curves")
        # After the checkpoint; what an interrupted run told of it, it tells again.
        curves.add_step({"loss": 0.25})
    assert not (DONE / RUN).exists()
    with Curves(DONE, sessions.make(trackers=[name]), kept.parent, 1) as curves:
        curves.add_step({"loss": 0.25})
        curves.add_step({"loss": 0.125})
        curves.add_epoch(1, {"margin": 0.75})
    told, params = READERS[name](place)
    assert told["train/loss"] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert told["train/rewards/chosen"] == [(1, 1.5)]
    assert told["eval/margin"] == [(0, 0.25), (3, 0.75)]
    assert told["epoch"] == [(0, 0), (3, 1)]
    assert float(params["train.beta"]) == 0.1
    assert params["train.objective"].strip('"') == "dpo"


def test_one_that_is_not_installed_is_named_with_what_to_install() -> None:
    known = {kind.value for kind in get_available_trackers()}
    lacking = [name for name in NAMES if name not in known]
    if not lacking:
        pytest.skip("all are installed")
    with pytest.raises(InputError, match=rf"runtime\.trackers: .*pip install {' '.join(lacking)}"):
        devices.trackers(Runtime.model_validate({"trackers": lacking}))


def test_one_that_cannot_start_is_an_error_before_anything_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.make(trackers=["tensorboard"])

    def fail(*args: object) -> None:
        raise ConnectionError("no host\nat all")

    monkeypatch.setattr(session.accelerator, "init_trackers", fail)
    message = r"tensorboard cannot be started \(ConnectionError: no host\)"
    with pytest.raises(InputError, match=message):
        Curves(DONE, session)
    assert list(Path("live").iterdir()) == []


def test_one_that_fails_meanwhile_is_told_nothing_more(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = sessions.make(trackers=["tensorboard"])
    calls = []

    def fail(values: dict[str, Any], step: int) -> None:
        calls.append(step)
        raise OSError("gone")

    with Curves(DONE, session) as curves:
        session.accelerator.trackers.append(
            SimpleNamespace(name="broken", log=fail, finish=lambda: None)
        )
        for loss in (0.5, 0.25):
            curves.add_step({"loss": loss})
    assert calls == [1]
    assert "broken: not told any further (OSError: gone)" in caplog.text
    assert of_tensorboard(place)[0]["train/loss"] == [(1, 0.5), (2, 0.25)]


def test_a_run_that_is_gone_is_begun_anew(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed", exc_type=ImportError)
    kept = place / "checkpoint/curves"
    kept.mkdir(parents=True)
    write_json(kept / RUN, {"name": "train-before", "mlflow": "0" * 32})
    with Curves(DONE, sessions.make(trackers=["mlflow"]), kept.parent, 4) as curves:
        curves.add_step({"loss": 0.5})
    assert "a new run is begun" in caplog.text
    with closing(sqlite3.connect(place / "mlflow.db")) as base:
        assert base.execute("select step, value from metrics").fetchall() == [(5, 0.5)]
