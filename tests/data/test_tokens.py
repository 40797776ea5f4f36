"""Token ids, against transformers and one text at a time."""

import json
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_helpers import EOS, patient, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.store.examples import Ragged


class Both(NamedTuple):
    """One tokenizer as this project loads it, and as transformers does."""

    own: Tokenizer
    eos_id: int
    peer: Any

    def ids(self, text: str) -> list[int]:
        return list(self.peer(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    directory = write_tokenizer(tmp_path_factory.mktemp("base"), eos_token=EOS)
    loaded = tokens.load(directory)
    return Both(loaded.tokenizer, loaded.eos_id, AutoTokenizer.from_pretrained(directory))


# But for those that stand for special tokens where these are hidden.
plain = st.text().filter(lambda text: not tokens.SIGN.search(text))
texts = st.lists(
    st.sampled_from(("Human: ", "\n\nAssistant:", " the market", "gate", EOS, "🙂")) | plain,
    max_size=6,
).map("".join)
ragged = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def rows_of(rows: Ragged) -> list[list[int]]:
    return [rows[index].tolist() for index in range(len(rows))]


def to_ragged(rows: list[list[int]]) -> Ragged:
    values = np.array(list(chain.from_iterable(rows)), dtype=np.int32)
    return Ragged.of(values, np.array(list(map(len, rows)), dtype=np.int64))


def test_the_tokenizer_of_these_tests_would_add_tokens_and_has_no_pad(both: Both) -> None:
    assert both.peer.pad_token is None
    assert both.peer("gate")["input_ids"] == [both.eos_id, *both.ids("gate")]


def test_the_end_of_sequence_is_the_one_that_transformers_sees(both: Both) -> None:
    assert both.eos_id == both.peer.eos_token_id


@patient
@given(st.lists(texts, max_size=5))
def test_encoding_gives_the_ids_of_transformers_without_special_tokens(
    both: Both, batch: list[str]
) -> None:
    assert rows_of(tokens.encode(both.own, batch)) == [both.ids(text) for text in batch]


@patient
@given(ragged)
def test_appending_puts_the_token_at_the_end_of_each_row(rows: list[list[int]]) -> None:
    appended = tokens.append(to_ragged(rows), 77)
    assert rows_of(appended) == [[*row, 77] for row in rows]
    assert appended.values.dtype == np.int32


def test_saved_truncation_and_padding_are_switched_off(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, eos_token=EOS) / "tokenizer.json"
    saved = Tokenizer.from_file(str(path))
    whole = saved.encode("at the market, at the gate", add_special_tokens=False).ids
    saved.enable_truncation(3)
    saved.enable_padding(length=99)
    saved.save(str(path))
    tokenizer = tokens.load(tmp_path).tokenizer
    batch = tokens.encode(tokenizer, ["at the market, at the gate", ""])
    assert rows_of(batch) == [whole, []]


def test_a_tokenizer_without_end_of_sequence_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer_config\.json: eos_token None") as caught:
        tokens.load(tmp_path)
    assert "set it to a token that the tokenizer has" in str(caught.value)


def test_an_end_of_sequence_that_is_not_in_the_vocabulary_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, eos_token=EOS)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace(EOS, "<gone>"))
    with pytest.raises(InputError, match="'<gone>' is not in the vocabulary"):
        tokens.load(tmp_path)


def test_a_directory_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; run dvc repro, or copy there"):
        tokens.load(tmp_path)


def test_special_tokens_and_the_template_come_with_it(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, eos_token=EOS)
    loaded = tokens.load(tmp_path)
    assert (loaded.special["eos_token"], loaded.chat_template) == (EOS, None)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    for found, expected in (("C", "C"), (named, "D"), (named[:1], None)):
        path.write_text(json.dumps(settings | {"chat_template": found}))
        assert tokens.load(tmp_path).chat_template == expected
    # One in a file of its own comes first.
    (tmp_path / "chat_template.jinja").write_text("J")
    assert tokens.load(tmp_path).chat_template == "J"


def test_what_stands_before_a_text_is_the_tokenizers(both: Both) -> None:
    assert tokens.bos(both.own) == [both.eos_id]
    plain = Tokenizer.from_str(both.own.to_str())
    plain.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    assert tokens.bos(plain) == []


@patient
@given(texts)
def test_special_tokens_that_are_spelt_are_text(both: Both, text: str) -> None:
    spelt = tokens.Spelt(both.own)
    hidden, count = spelt.hidden(text)
    assert (count, EOS in hidden, spelt.shown(hidden)) == (text.count(EOS), False, text)
    (ids,) = rows_of(spelt.encode([hidden]))
    peer = both.peer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ids == peer
    assert both.eos_id not in ids
    assert both.own.decode(ids, skip_special_tokens=False) == text
    # Or they are left to the tokenizer.
    kept = tokens.Spelt(both.own, keep=True)
    assert kept.hidden(text) == (text, 0)
    assert rows_of(kept.encode([text])) == [both.ids(text)]


@pytest.mark.parametrize("keep", [False, True])
def test_a_sign_that_data_have_stays_what_it_is(both: Both, keep: bool) -> None:
    spelt = tokens.Spelt(both.own, keep=keep)
    text = f"a{chr(tokens.SIGNS)}b{chr(tokens.SIGNS + 7)}"
    hidden, count = spelt.hidden(text)
    assert (count, spelt.shown(hidden)) == (0, text)
    (ids,) = rows_of(spelt.encode([hidden]))
    assert both.own.decode(ids, skip_special_tokens=False) == text
    assert both.eos_id not in ids
