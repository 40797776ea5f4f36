"""The chat: what it prints, and what it refuses."""

import argparse
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from model_cases import make_adapter

from preference.core.errors import InputError
from preference.data.formats import hh
from preference.data.formats.example import Turn
from preference.evaluation import generation
from preference.model import loading
from tools import chat as talk


def chat(where: Path, said: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tools.chat", "--max-new-tokens", "12", *options]
    return subprocess.run(command, cwd=where, input=said.encode(), capture_output=True, check=False)


def chat_here(where: Path, said: bytes, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """The same in this process, which has what takes longest to start."""
    monkeypatch.chdir(where)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said), encoding="utf-8"))
    parser = argparse.ArgumentParser()
    talk.arguments(parser)
    talk.main(parser.parse_args(["--max-new-tokens", "12", *options]))


def replies(
    where: Path,
    model: str,
    *dialogues: list[str],
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> str:
    """What the chat should print: an answer to each question, with those before it in view."""
    someone = generation.open_model(where / model, torch.device("cpu"))
    printed = ""
    for asked in dialogues:
        history: list[Turn] = []
        for question in asked:
            history.append(Turn("user", question))
            text = hh.text(history)
            ids = someone.tokenizer.encode(text, add_special_tokens=False).ids
            (answer,) = generation.answers(
                someone, [np.array(ids)], 12, temperature=temperature, generator=generator
            )
            history.append(Turn("assistant", answer))
            printed += f"{answer}\n"
    return printed


def test_chat_answers_what_is_piped_to_it(another: Path) -> None:
    first, second = "Where can I buy wool?", "And what is Oakby known for?"
    done = chat(another, f"{first}\n\n{second}\n/new\n{second}\n/quit\n{first}\n")
    assert done.returncode == 0, done.stderr
    expected = replies(another, "models/policy", [first, second], [second])
    assert done.stdout.decode() == expected
    assert done.stderr.decode() == "models/policy: /new begins a new dialogue, /quit ends\n"
    # The end of input without a line's end; a model that is named.
    other = chat(another, second, "--model", "models/sft")
    assert other.stdout.decode() == replies(another, "models/sft", [second])


def test_chat_draws_by_its_seed(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_here(finished, b"Where?\nWhere?\n", monkeypatch, "--temperature", "2", "--seed", "5")
    generator = torch.Generator().manual_seed(5)
    assert capsys.readouterr().out == replies(
        finished, "models/policy", ["Where?", "Where?"], temperature=2.0, generator=generator
    )


def test_chat_forgets_what_the_model_has_no_room_for(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"Where is the market of number {number}?" for number in range(12)]
    chat_here(finished, "\n".join(asked).encode(), monkeypatch)
    assert capsys.readouterr().out == replies(finished, "models/policy", asked)


def test_chat_takes_an_adapter(
    another: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(another)
    adapter = make_adapter(Path("models/base"), Path("adapter"))
    loading.load(adapter).save_pretrained("merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path("models/base", name), "merged")
    with caplog.at_level("INFO"):
        chat_here(another, b"Where?\n", monkeypatch, "--model", "adapter")
    said = capsys.readouterr().out
    assert said == replies(another, "merged", ["Where?"])
    assert said != replies(another, "models/base", ["Where?"])
    assert "adapter: an adapter, merged into its base models/base" in caplog.text


BAD: dict[str, tuple[list[str], str]] = {
    "unpinned": (["--model", "nothing"], "@COMMIT"),
    "no directory": (["--model", "./nothing"], "--model: './nothing' is no directory"),
    "no model": (["--model", "data"], "config.json: no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_chat_refuses_what_it_cannot_use(
    case: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = BAD[case]
    monkeypatch.chdir(finished)
    parser = argparse.ArgumentParser()
    talk.arguments(parser)
    with pytest.raises(InputError, match=re.escape(message)):
        talk.main(parser.parse_args(options))


def test_an_error_is_one_line(finished: Path) -> None:
    done = chat(finished, "Why?\n", "--max-new-tokens", "160")
    assert (done.returncode, done.stdout) == (1, b"")
    (said,) = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
    assert "--max-new-tokens: 160 new tokens" in said
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-new-tokens", "0"], "--max-new-tokens: must be 1 or more, not 0"),
        (["--temperature", "-1"], "--temperature: must be 0 or more, not -1"),
        (["--temperature", "nan"], "--temperature: must be 0 or more, not nan"),
        (["--seed", "-1"], "--seed: must be 0 or more, not -1"),
        ([], "models/policy: no such directory; run dvc repro"),
    ],
)
def test_chat_refuses_options(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    talk.arguments(parser)
    with pytest.raises(InputError, match=message):
        talk.main(parser.parse_args(options))


def test_chats_side_by_side_end_with_ctrl_c(finished: Path) -> None:
    command = [sys.executable, "-m", "tools.chat", "--max-new-tokens", "12"]
    pipe = subprocess.PIPE
    chats = [
        subprocess.Popen(command, cwd=finished, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    for one in chats:
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write("Where?\n")
        one.stdin.flush()
        assert one.stdout.readline()
    for one in chats:
        os.kill(one.pid, signal.SIGINT)
        _, said = one.communicate(timeout=60)
        assert one.returncode == 130
        assert "stopped by SIGINT" in said
        assert "Traceback" not in said


def test_chat_takes_bytes_that_are_no_text(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_here(finished, b"caf\xe9?\n", monkeypatch)
    assert capsys.readouterr().out == replies(
        finished, "models/policy", ["caf\N{REPLACEMENT CHARACTER}?"]
    )
