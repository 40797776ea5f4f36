"""Tokens and truncation, against transformers and one text at a time."""

from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_helpers import EOS, example, patient, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.formats.example import Example, Turn
from preference.store.examples import Ragged
from preference.store.tables import PREPARED


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
    own, eos_id = tokens.load(directory)
    return Both(own, eos_id, AutoTokenizer.from_pretrained(directory))


texts = st.lists(
    st.sampled_from(("Human: ", "\n\nAssistant:", " the market", "gate", EOS, "🙂")) | st.text(),
    max_size=6,
).map("".join)
responses = st.lists(texts, min_size=1, max_size=4)


@st.composite
def some(draw: st.DrawFn) -> Example:
    """Any prompt with responses, pairs of them, labels and weights."""
    found = tuple(draw(responses))
    places = st.integers(0, len(found) - 1)
    prompt = draw(texts)
    return Example(
        prompt,
        found,
        (Turn("user", 0, len(prompt)),),
        tuple(draw(st.lists(st.tuples(places, places), max_size=3))),
        tuple(draw(st.sampled_from([None, True, False])) for _ in found),
        tuple(draw(st.sampled_from([None, 0.5])) for _ in found),
    )


examples = some()
ragged = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def rows_of(rows: Ragged) -> list[list[int]]:
    return [rows[index].tolist() for index in range(len(rows))]


def to_ragged(rows: list[list[int]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(np.array(list(chain.from_iterable(rows)), dtype=np.int32), offsets)


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


@patient
@given(ragged, st.integers(0, 7))
def test_one_limit_cuts_every_row_to_its_last_tokens(rows: list[list[int]], limit: int) -> None:
    cut = tokens.keep_last(to_ragged(rows), limit)
    assert rows_of(cut) == [row[max(0, len(row) - limit) :] for row in rows]


@patient
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 7)), max_size=6))
def test_each_row_has_its_own_limit(rows: list[tuple[list[int], int]]) -> None:
    limits = np.array([limit for _, limit in rows], dtype=np.int64)
    cut = tokens.keep_last(to_ragged([row for row, _ in rows]), limits)
    assert rows_of(cut) == [row[max(0, len(row) - limit) :] for row, limit in rows]


class Side(NamedTuple):
    prompt: list[int]
    response: list[int]
    cut: bool


def one_side(both: Both, prompt: str, answer: str, max_length: int) -> Side:
    """What a sequence keeps: joined, EOS at its end, without its beginning where too long."""
    head, response = both.ids(prompt), [*both.ids(answer), both.eos_id]
    sequence = (head + response)[-max_length:]
    kept = max(0, len(sequence) - len(response))
    return Side(sequence[:kept], sequence[kept:], len(head + response) > max_length)


@patient
@given(st.lists(examples, min_size=1, max_size=5), st.integers(2, 6) | st.integers(2, 60))
def test_prepared_responses_are_the_joined_sequences_without_their_beginnings(
    both: Both, batch: list[Example], max_length: int
) -> None:
    numbers = [10 * index for index in range(len(batch))]
    found = tokens.prepare(both.own, both.eos_id, max_length, numbers, batch)
    expected = []
    for number, one in zip(numbers, batch, strict=True):
        sides = [one_side(both, one.prompt, answer, max_length) for answer in one.responses]
        # A lone EOS has nothing before it and could not be scored.
        if all(len(side.prompt + side.response) > 1 for side in sides):
            expected.append((number, one, sides))
    assert found.batch.schema == PREPARED
    kept = [number for number, *_ in expected]
    assert [n for n, out in zip(numbers, found.dropped, strict=True) if not out] == kept
    assert (found.lengths > max_length).tolist() == [
        side.cut for *_, sides in expected for side in sides
    ]
    for row, (number, one, sides) in zip(found.batch.to_pylist(), expected, strict=True):
        assert row["row"] == number
        assert (row["prompt"], row["responses"]) == (one.prompt, list(one.responses))
        assert row["turns"] == [turn._asdict() for turn in one.turns]
        assert (row["labels"], row["weights"]) == (list(one.labels), list(one.weights))
        assert list(zip(row["chosen"], row["rejected"], strict=True)) == list(one.pairs)
        assert row["prompt_ids"] == max((side.prompt for side in sides), key=len)
        for side, ids, tokens_kept in zip(
            sides, row["response_ids"], row["prompt_tokens"], strict=True
        ):
            assert ids == side.response
            assert ids[-1] == both.eos_id
            assert row["prompt_ids"][len(row["prompt_ids"]) - tokens_kept :] == side.prompt


def test_each_side_keeps_as_much_of_the_prompt_as_it_has_room_for(both: Both) -> None:
    pair = example("\n\nHuman: where?\n\nAssistant:", "gate", "at the market, at the market")
    prompt = both.ids(pair.prompt)
    short, long = (len(both.ids(text)) + 1 for text in pair.responses)
    max_length = len(prompt) + short - 2
    found = tokens.prepare(both.own, both.eos_id, max_length, [0], [pair])
    row = found.batch.to_pylist()[0]
    assert short < long < max_length
    assert row["prompt_tokens"] == [len(prompt) - 2, max_length - long]
    assert row["prompt_ids"] == prompt[2:]
    assert (found.lengths > max_length).tolist() == [True, True]


def test_a_pair_that_fits_to_the_token_is_not_truncated(both: Both) -> None:
    pair = example("Human: where?", "gate", "gate")
    needed = len(both.ids(pair.prompt)) + len(both.ids("gate")) + 1
    for max_length, expected in ((needed, 0), (needed - 1, 1)):
        found = tokens.prepare(both.own, both.eos_id, max_length, [0], [pair])
        assert (found.lengths > max_length).tolist() == [expected == 1] * 2


def test_a_response_that_is_too_long_loses_its_own_beginning(both: Both) -> None:
    pair = example("Human: where?", "at the market", "gate")
    row = tokens.prepare(both.own, both.eos_id, 2, [0], [pair]).batch.to_pylist()[0]
    assert row["prompt_ids"] == []
    assert row["response_ids"] == [
        [both.ids(text)[-1], both.eos_id] for text in ("at the market", "gate")
    ]
    assert row["prompt_tokens"] == [0, 0]


def test_pairs_of_which_the_tokenizer_drops_all_text_are_left_out() -> None:
    # Without an unknown token, BPE drops what its alphabet lacks.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(special_tokens=[EOS], show_progress=False)
    tokenizer.train_from_iterator(["ab ba"], trainer)
    batch = [
        example(*texts)
        for texts in (("ab", "a", "b"), ("zz", "a", "z"), ("zz", "a", "b"), ("ab", "z", "z"))
    ]
    found = tokens.prepare(tokenizer, 0, 8, [4, 5, 6, 7], batch)
    assert found.batch["row"].to_pylist() == [4, 6, 7]
    assert found.dropped.tolist() == [False, True, False, False]
    assert found.batch["response_ids"].to_pylist()[2][0] == [0]


def test_saved_truncation_and_padding_are_switched_off(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, eos_token=EOS) / "tokenizer.json"
    saved = Tokenizer.from_file(str(path))
    whole = saved.encode("at the market, at the gate", add_special_tokens=False).ids
    saved.enable_truncation(3)
    saved.enable_padding(length=99)
    saved.save(str(path))
    tokenizer, _ = tokens.load(tmp_path)
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
