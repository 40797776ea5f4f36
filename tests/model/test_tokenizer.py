"""The tokenizer of a base: its chat template stands where preparing and transformers find it."""

import json
from pathlib import Path

import chat_cases
import pytest
from transformers import AutoTokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.model import tokenizer

ASKED = [{"role": "user", "content": "Where?"}]
OWN = "{{ messages[0]['content'] }}!"


@pytest.mark.parametrize("own", [None, chat_cases.CHATML])
def test_a_chat_template_is_found_by_both(own: str | None, tmp_path: Path) -> None:
    directory = chat_cases.saved(tmp_path, own)
    before = AutoTokenizer.from_pretrained(directory)
    tokenizer.set_chat_template(directory, None)
    assert not (directory / "chat_template.jinja").exists()
    after = AutoTokenizer.from_pretrained(directory)
    assert (
        after.chat_template == before.chat_template == tokens.load(directory).chat_template == own
    )
    assert after("a b").input_ids == before("a b").input_ids


@pytest.mark.parametrize("own", [None, chat_cases.CHATML])
def test_a_file_takes_the_place_of_the_models_own(own: str | None, tmp_path: Path) -> None:
    directory, file = chat_cases.saved(tmp_path / "base", own), tmp_path / "mine.jinja"
    file.write_text(OWN)
    tokenizer.set_chat_template(directory, file)
    found = AutoTokenizer.from_pretrained(directory)
    assert found.apply_chat_template(ASKED, tokenize=False) == "Where?!"
    assert tokens.load(directory).chat_template == OWN
    assert json.loads((directory / "tokenizer_config.json").read_text())["eos_token"] == "</s>"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.template: .*none\.jinja: cannot be read"):
        tokenizer.set_chat_template(chat_cases.saved(tmp_path, None), tmp_path / "none.jinja")
