"""The Hub's failures, with the real client: fetched right in the end, or not at all."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hub_standin
import pyarrow.parquet as pq
import pytest
from data_helpers import ROOT, write_params
from hub_standin import COMMIT, Failure, Hub

from preference.core.params import Model, Scratch
from preference.model import base, directories

TRAIN = "harmless-base/train.jsonl.gz"


def dialogues(count: int, topic: str) -> bytes:
    rows = [
        {
            "chosen": f"\n\nHuman: {topic} {i}?\n\nAssistant: yes {i}",
            "rejected": f"\n\nHuman: {topic} {i}?\n\nAssistant: no {i}",
        }
        for i in range(count)
    ]
    return gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    model = tmp_path_factory.mktemp("hub") / "model"
    size = Scratch(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=300)
    texts = [f"where is the market {i}?" for i in range(20)]
    base.create_base(Model(base="scratch", revision=None, scratch=size), 1, model, texts)
    data = {
        f"{part}/{split}.jsonl.gz": dialogues(count, f"{part} {split}")
        for part in ("helpful-base", "harmless-base")
        for split, count in (("train", 300), ("test", 20))
    }
    return {"models/some/model": hub_standin.tree(model), "datasets/some/data": data}


@pytest.fixture
def hub(files: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    with hub_standin.running(files) as started:
        yield started


def environment(hub: Hub, place: Path, patience: int) -> dict[str, str]:
    """Of a process that waits so many seconds for an answer."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(place / "hub"),
        "HF_HUB_DOWNLOAD_TIMEOUT": str(patience),
        "HF_HUB_ETAG_TIMEOUT": str(patience),
        "HF_HUB_OFFLINE": "0",
    }


# A stage, but all waits are short, also the client's, and it takes a file in small pieces: it goes
# on only after a whole piece.
QUICK = """
import runpy, sys, time
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.02))
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 256
runpy.run_module("stages." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def fetch(
    hub: Hub, place: Path, stage: str, *, patience: int = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a fetch stage against the stand-in."""
    changes: dict[str, object] = {"data.source": "some/data", "data.revision": COMMIT}
    changes |= {"model.base": "some/model", "model.revision": COMMIT}
    write_params(place / "params.yaml", changes)
    return subprocess.run(
        [sys.executable, "-c", QUICK, stage],
        cwd=place,
        env=environment(hub, place, patience) | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def rows(place: Path) -> list[str]:
    column: list[str] = pq.read_table(place / "data/raw/train.parquet")["chosen"].to_pylist()
    return column


def expected(files: dict[str, dict[str, bytes]]) -> list[str]:
    """Subset by subset, in alphabetical order, as the Hub's default split has them."""
    data = files["datasets/some/data"]
    return [
        json.loads(line)["chosen"]
        for name in (TRAIN, "helpful-base/train.jsonl.gz")
        for line in gzip.decompress(data[name]).splitlines()
    ]


def test_all_well(hub: Hub, tmp_path: Path, files: dict[str, dict[str, bytes]]) -> None:
    done = fetch(hub, tmp_path, "fetch_data")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path) == expected(files)
    assert all(count == 1 for path, count in hub.served.items() if path.startswith("GET /datasets"))
    done = fetch(hub, tmp_path, "fetch_model")
    assert done.returncode == 0, done.stderr
    assert directories.origin(tmp_path / "models/base") == f"some/model@{COMMIT}"


HEALED = {
    "dropped in the middle": Failure(TRAIN, "drop", 2),
    "dropped listing": Failure("/tree/", "drop", 1),
    "slow, but in time": Failure(TRAIN, "slow", 1, 0.5),
    "too slow once": Failure(TRAIN, "slow", 1, 6),
    "too many requests": Failure(TRAIN, "status", 2, 429, {"Retry-After": "1"}),
    "server error": Failure(TRAIN, "status", 2, 500),
    "server error at the listing": Failure("/api/", "status", 2, 503),
    "wrong content once": Failure(TRAIN, "wrong", 1),
}


@pytest.mark.parametrize("case", HEALED)
def test_what_heals_is_fetched_right(
    case: str, hub: Hub, tmp_path: Path, files: dict[str, dict[str, bytes]]
) -> None:
    failure = HEALED[case]
    hub.failures.append(Failure(**vars(failure)))
    done = fetch(hub, tmp_path, "fetch_data", patience=4 if case == "too slow once" else 60)
    assert done.returncode == 0, done.stderr
    assert hub.failures[0].times == 0
    assert rows(tmp_path) == expected(files)
    if case == "dropped in the middle":
        assert hub.ranges, "it should go on where it was"
    if case == "wrong content once":
        assert f"{TRAIN} did not arrive as the Hub has it" in done.stderr


STOPPED = {
    "dropped for ever": (Failure(TRAIN, "drop", 999), "cannot be fetched"),
    "server error for ever": (Failure(TRAIN, "status", 999, 500), "500"),
    "server error at the listing, for ever": (
        Failure("/tree/", "status", 999, 503),
        "4 attempts failed, the last with HfHubHTTPError: Server error '503",
    ),
    "wrong content for ever": (Failure(TRAIN, "wrong", 999), f"{TRAIN} is not what the Hub's"),
    "moved revision": (Failure("/revision/", "moved", 999), f"answered with commit {'f' * 40}"),
    "no such revision": (Failure("/api/", "status", 999, 404), "404"),
    "not allowed": (Failure("/api/", "status", 999, 403), "403"),
    "not allowed at the file": (Failure(TRAIN, "status", 999, 403), "locate the file"),
}


@pytest.mark.parametrize("case", STOPPED)
def test_what_does_not_heal_stops_with_a_message(case: str, hub: Hub, tmp_path: Path) -> None:
    failure, told = STOPPED[case]
    hub.failures.append(Failure(**vars(failure)))
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/earlier").write_text("whole")
    done = fetch(hub, tmp_path, "fetch_data")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: Hub dataset some/data at {COMMIT}, train: cannot be fetched")
    assert told in last
    assert "data.revision; or download the files and set data.source to their directory" in last
    assert "Traceback" not in done.stderr
    heals = "for ever" in case
    assert ("tried again" in done.stderr) == (heals and "wrong" not in case)
    assert [p.name for p in tmp_path.glob("data/*")] == ["raw"]
    assert [p.name for p in tmp_path.glob("data/raw/*")] == ["earlier"]


def test_names_from_outside_stay_inside(tmp_path: Path) -> None:
    for name in ("../../train.jsonl.gz", "/tmp/train.jsonl.gz"):
        with hub_standin.running({"datasets/some/data": {name: dialogues(1, "odd")}}) as hub:
            done = fetch(hub, tmp_path, "fetch_data")
            assert done.returncode == 1
            assert f"the repository names a file outside of itself: {name!r}" in done.stderr
            assert not list(tmp_path.rglob("train.jsonl.gz"))
            assert not any("resolve" in request for request in hub.served)


CONFIGURED = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {path}
  - split: test
    path: data/test.jsonl.gz
---
# A dataset
"""


def test_a_datasets_own_configuration_is_followed(tmp_path: Path) -> None:
    card = CONFIGURED.format(path="data/part-*.jsonl.gz").encode()
    parts = {f"data/part-{i}.jsonl.gz": dialogues(2, f"part {i}") for i in range(2)}
    other = {"README.md": card, "data/test.jsonl.gz": dialogues(1, "test")}
    with hub_standin.running({"datasets/some/data": parts | other}) as hub:
        done = fetch(hub, tmp_path, "fetch_data")
    assert done.returncode == 0, done.stderr
    assert [text.split("?")[0] for text in rows(tmp_path)] == [
        f"\n\nHuman: part {i} {j}" for i in range(2) for j in range(2)
    ]


@pytest.mark.parametrize("name", ["data/test.jsonl.gz", "README.md"])
def test_the_refusal_names_both_digests(name: str, tmp_path: Path) -> None:
    """SHA-256 of large files, git's own of the others."""
    card = CONFIGURED.format(path="data/test.jsonl.gz").encode()
    repository = {"README.md": card, "data/test.jsonl.gz": dialogues(2, "test")}
    with hub_standin.running({"datasets/some/data": repository}) as hub:
        hub.failures.append(Failure(name, "wrong", 999))
        done = fetch(hub, tmp_path, "fetch_data")

    def digest(content: bytes) -> str:
        if name == "README.md":
            return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
        return hashlib.sha256(content).hexdigest()

    arrived = bytes(b ^ 1 for b in repository[name])
    assert done.returncode == 1
    assert (
        f"{name} is not what the Hub's listing says (its digest is {digest(arrived)}, expected "
        f"{digest(repository[name])}), twice"
    ) in done.stderr


def test_files_that_are_not_wanted_are_neither_fetched_nor_missed(
    files: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """Of a model what is not read; and what a client left of its own and somebody uploaded."""
    model = files["models/some/model"] | {"pytorch_model.bin": b"pickled"}
    left = {".cache/huggingface/download/config.json.metadata": b"of a client"}
    data = files["datasets/some/data"] | left
    with hub_standin.running({"models/some/model": model, "datasets/some/data": data}) as hub:
        for stage in ("fetch_model", "fetch_data"):
            done = fetch(hub, tmp_path, stage)
            assert done.returncode == 0, done.stderr
    asked = "".join(hub.served)
    assert TRAIN in asked
    assert "pytorch_model.bin" not in asked
    assert ".cache" not in asked


def test_a_model_with_pickled_weights_alone_does_not_become_random(
    files: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    model = files["models/some/model"] | {"pytorch_model.bin": b"pickled"}
    del model["model.safetensors"]
    with hub_standin.running({"models/some/model": model}) as hub:
        done = fetch(hub, tmp_path, "fetch_model")
        assert done.returncode == 1
        assert (
            "holds no *.safetensors (of a model on the Hub nothing else is fetched" in done.stderr
        )
        assert not (tmp_path / "models/base").exists()


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("absolute", "README.md"),
        ("parent", ".huggingface.yaml"),
        ("address", "README.md"),
        ("archive", ".huggingface.yaml"),
    ],
)
def test_a_configuration_that_leads_outside_is_refused(
    kind: str, file: str, tmp_path: Path, hub: Hub
) -> None:
    """The library would follow it: to a file of this machine, or to another host."""
    secret = tmp_path / "secret.jsonl.gz"
    secret.write_bytes(dialogues(3, "secret"))
    path = {
        "absolute": str(secret),
        "parent": f"../../../../../../..{secret}",
        "address": f"{hub.url}/datasets/some/data/resolve/{COMMIT}/{TRAIN}",
        "archive": f"gzip://secret.jsonl::{secret}",
    }[kind]
    text = CONFIGURED.format(path=path)
    content = text if file == "README.md" else text.split("---")[1]
    repository = {file: content.encode(), "data/test.jsonl.gz": dialogues(1, "test")}
    with hub_standin.running({"datasets/some/data": repository}) as odd:
        done = fetch(odd, tmp_path, "fetch_data")
    assert done.returncode == 1
    assert f"{file} names files outside of the repository: {path!r}" in done.stderr
    assert not list(tmp_path.glob("data/*"))
    assert not hub.served


def test_a_full_disk_is_not_called_a_network_fault(
    hub: Hub, tmp_path: Path, full_disk: Path
) -> None:
    (full_disk / "filler").write_bytes(b"x" * (shutil.disk_usage(full_disk).free - 8_192))
    for stage in ("fetch_data", "fetch_model"):
        done = fetch(hub, tmp_path, stage, HF_HOME=str(full_disk / "hub"))
        assert done.returncode == 1
        assert "make room on the disk and run dvc repro" in done.stderr
        assert "Check the network" not in done.stderr
        assert "tried again" not in done.stderr


def test_wrong_weights_are_never_used(hub: Hub, tmp_path: Path) -> None:
    hub.failures.append(Failure("model.safetensors", "wrong", 999))
    done = fetch(hub, tmp_path, "fetch_model")
    assert done.returncode == 1
    assert "model.safetensors is not what the Hub's listing says" in done.stderr
    assert not (tmp_path / "models").exists()
    # Nor later, from what the client has kept.
    hub.failures.clear()
    done = fetch(hub, tmp_path, "fetch_model")
    assert done.returncode == 0, done.stderr


def test_a_fetch_killed_in_the_middle_is_never_taken_for_whole(
    hub: Hub, tmp_path: Path, files: dict[str, dict[str, bytes]]
) -> None:
    hub.failures.append(Failure("helpful-base/train", "slow", 999, 60))
    write_params(tmp_path / "params.yaml", {"data.source": "some/data", "data.revision": COMMIT})
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.fetch_data"],
        cwd=tmp_path,
        env=environment(hub, tmp_path, 60),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(
        (tmp_path / "hub").glob("hub/datasets--some--data/snapshots/*/harmless*/train*")
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data/raw").exists()
    # The Hub is gone: what the client has of the files is not all of them.
    hub.failures[:] = [Failure("/", "status", 999, 503)]
    done = fetch(hub, tmp_path, "fetch_data")
    assert done.returncode == 1
    assert not (tmp_path / "data/raw").exists()
    hub.failures.clear()
    before = hub.served[f"GET /datasets/some/data/resolve/{COMMIT}/{TRAIN}"]
    done = fetch(hub, tmp_path, "fetch_data")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path) == expected(files)
    # The file that was whole is not fetched again.
    assert hub.served[f"GET /datasets/some/data/resolve/{COMMIT}/{TRAIN}"] == before
