"""Publishing: what would go, what is refused, and what the Hub gets."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import project
import pytest
from hub_standin import serving
from huggingface_hub import constants

from preference.core.errors import InputError
from tools import publish
from tools.policy import POLICY

REPO = "some-one/my.model_1"
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass
class Hub:
    """What a stand-in for the Hub has been told.

    Attributes:
        private: whether the repository is, if it is there already.
        there: files in it.
        refuses: a part of the addresses that it answers with 403.
        made: what it was asked to make.
        commits: files with their content, None for those that were deleted.
    """

    private: bool | None = None
    there: tuple[str, ...] = ()
    refuses: str = "nothing"
    url: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, bytes | None]] = field(default_factory=list)

    def answer(self, path: str, asked: bytes) -> tuple[int, dict[str, Any]]:
        if self.refuses in path:
            return 403, {"error": "this token may not write here"}
        if path == "/api/repos/create":
            return self._make(json.loads(asked))
        if path == f"/api/models/{REPO}":
            files = [{"rfilename": name} for name in self.there]
            return 200, {"id": REPO, "private": self.private, "siblings": files, "tags": []}
        if path.endswith("/preupload/main"):
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {"files": [plain | {"path": f["path"]} for f in json.loads(asked)["files"]]}
        if path.endswith("/commit/main"):
            return self._commit(asked.splitlines()[1:])
        return 200, {}

    def _make(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.made.append(asked)
        status = 200 if self.private is None else 409
        if self.private is None:
            self.private = asked["visibility"] == "private"
        return status, {"url": f"{self.url}/{REPO}"}

    def _commit(self, lines: list[bytes]) -> tuple[int, dict[str, Any]]:
        changes = [json.loads(line) for line in lines]
        new = {c["value"]["path"]: c["value"].get("content") for c in changes}
        self.commits.append({name: text and base64.b64decode(text) for name, text in new.items()})
        return 200, {"commitUrl": f"{self.url}/{REPO}/commit/1", "commitOid": "1"}


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Let the stand-in answer on the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, values = hub.answer(self.path.partition("?")[0], asked)
            content = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

    with serving(Handler) as hub.url:
        yield hub


def run(place: Path, *options: str, hub: str = "http://127.0.0.1:9") -> tuple[int, str, str]:
    """Publish as a user would, with a client that knows no other Hub than this one."""
    names = {"HF_ENDPOINT": hub, "HF_HOME": str(place.parent / "hub"), "HF_TOKEN": "hf_for_tests"}
    done: subprocess.CompletedProcess[str] = project.run(
        place, "python", "-m", "tools.publish", *options, HF_HUB_OFFLINE="0", **names
    )
    return done.returncode, done.stdout, done.stderr


def push(place: Path, hub: str, monkeypatch: pytest.MonkeyPatch, *, private: bool = True) -> str:
    """The part of it that the Hub sees, in this process."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_for_tests")
    return publish.push(REPO, publish.contents(REPO, POLICY), private=private)


def card(place: Path) -> bytes:
    text = (place / "results/card.md").read_text()
    return text.replace('("models/policy")', f'("{REPO}")').encode()


def test_without_push_it_only_shows_what_would_go(finished: Path) -> None:
    status, told, warned = run(finished, REPO, "--force")
    assert status == 0, warned
    word = json.loads((finished / "results/comparison.json").read_text())["verdict"]
    first, *lines = told.splitlines()
    assert first == f"{REPO} (private): {word}"
    sizes = {name: (finished / "models/policy" / name).stat().st_size for name in FILES}
    sizes["README.md"] = len(card(finished))
    assert lines[: len(sizes)] == [f"{size:>16,} {name}" for name, size in sizes.items()]
    shown = card(finished).decode().splitlines()[: publish.SHOWN]
    assert lines[len(sizes) :] == [
        "README.md:",
        *[f"    {line}".rstrip() for line in shown],
        "    ...",
        "Nothing was sent. To publish it, write the same with PUSH=1 (python: --push).",
    ]
    # The params of the small run are not those of the commit.
    assert warned.startswith("params, code or results are not committed: ")


def test_the_hub_gets_what_was_shown_in_one_commit(finished: Path) -> None:
    with running(Hub()) as hub:
        status, told, warned = run(finished, REPO, "--force", "--push", hub=hub.url)
    assert status == 0, warned
    assert told.splitlines()[-1] == f"{hub.url}/{REPO}/commit/1"
    assert [(made["organization"], made["name"], made["visibility"]) for made in hub.made] == [
        (*REPO.split("/"), "private")
    ]
    expected = {name: (finished / "models/policy" / name).read_bytes() for name in FILES}
    assert hub.commits == [expected | {"README.md": card(finished)}]


def test_weights_of_an_earlier_model_go_and_all_else_stays(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = (
        ".gitattributes",
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "notes.md",
        "onnx/model.safetensors",
    )
    with running(Hub(private=True, there=there)) as hub:
        push(finished, hub.url, monkeypatch)
    (commit,) = hub.commits
    assert {name for name, content in commit.items() if content is None} == {
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    assert {name for name, content in commit.items() if content} == {*FILES, "README.md"}


def test_for_everybody_to_see(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Hub()) as hub:
        push(finished, hub.url, monkeypatch, private=False)
    assert [made["visibility"] for made in hub.made] == ["public"]


@pytest.mark.parametrize(
    ("is_private", "message"),
    [
        (False, "is there already, and everybody can see it; write PUBLIC=1"),
        (True, "is there already, and it is private; leave PUBLIC=1 out"),
    ],
)
def test_nobody_else_sees_it_than_was_asked_for(
    is_private: bool, message: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        running(Hub(private=is_private)) as hub,
        pytest.raises(InputError, match=f"^{REPO}: {message}"),
    ):
        push(finished, hub.url, monkeypatch, private=not is_private)
    assert hub.commits == []


FAILED = f"Hub model {REPO}: cannot be published ({{}}"
WHAT_TO_DO = "Check the network, the id, and that hf auth login was done"


def test_a_hub_that_refuses(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Hub(refuses="/commit/")) as hub, pytest.raises(InputError) as raised:
        push(finished, hub.url, monkeypatch)
    assert str(raised.value).startswith(FAILED.format("HfHubHTTPError: "))
    assert WHAT_TO_DO in str(raised.value)


def test_a_hub_that_is_not_there(finished: Path) -> None:
    status, _, told = run(finished, REPO, "--force", "--push", "--public")
    assert status == 1
    assert f"error: {FAILED.format('ConnectError: ')}" in told
    assert WHAT_TO_DO in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("", "Repo id must use alphanumeric chars"),
        ("mine", "it needs an owner and a name"),
        ("a/b/c", "Repo id must be in the form"),
        ("me/my model", "Repo id must use alphanumeric chars"),
        ("me/-model", "Repo id must use alphanumeric chars"),
        ("me/my--model", "Cannot have -- or .."),
    ],
)
def test_a_malformed_id_is_refused(repo: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^REPO={repo}: {message}.*make publish REPO=owner/name"):
        publish.require_repo(repo)
