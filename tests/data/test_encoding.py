"""Examples as ids, against transformers and one text at a time."""

from pathlib import Path
from typing import Any, NamedTuple

import data_helpers
import numpy as np
import pytest
from data_helpers import EOS, example, patient, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.encoding import Encoded, Encoder
from preference.data.formats.example import Example, Turn, Unusable, UnusableError
from preference.data.tokens import Loaded
from preference.store.tables import PREPARED

CHAT = (
    "{% for m in messages %}"
    "{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


class Both(NamedTuple):
    """One tokenizer as this project loads it, and as transformers does."""

    loaded: Loaded
    peer: Any

    @property
    def eos_id(self) -> int:
        return self.loaded.eos_id

    def ids(self, text: str, *, spelt: bool = True) -> list[int]:
        """Of a text, with special tokens that it spells read as text."""
        found = self.peer(text, add_special_tokens=False, split_special_tokens=spelt)
        return list(found["input_ids"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    directory = write_tokenizer(tmp_path_factory.mktemp("base"), eos_token=EOS)
    return Both(tokens.load(directory), AutoTokenizer.from_pretrained(directory))


def encode(both: Both, batch: list[Example], own: str = "none", **changes: object) -> Encoded:
    """Examples in rows 0, 10, 20, ...; without BOS, if that is not asked for."""
    settings = data_helpers.data(**{"bos": "never", **changes})
    return Encoder(both.loaded, settings, own).encode([10 * i for i in range(len(batch))], batch)


plain = st.text().filter(lambda text: not tokens.SIGN.search(text))
texts = st.lists(
    st.sampled_from(("Human: ", "\n\nAssistant:", " the market", "gate", EOS, "🙂")) | plain,
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
        (Turn("user", prompt),),
        found,
        prompt,
        tuple(draw(st.lists(st.tuples(places, places), max_size=3))),
        tuple(draw(st.sampled_from([None, True, False])) for _ in found),
        tuple(draw(st.sampled_from([None, 0.5])) for _ in found),
    )


examples = some()


class Side(NamedTuple):
    prompt: list[int]
    response: list[int]
    lost: int


def one_side(head: list[int], response: list[int], max_length: int) -> Side:
    """What a sequence keeps: joined, EOS at its end, without its beginning where too long."""
    sequence = (head + response)[-max_length:]
    kept = max(0, len(sequence) - len(response))
    return Side(sequence[:kept], sequence[kept:], max(0, len(head + response) - max_length))


@patient
@given(
    st.lists(examples, min_size=1, max_size=5),
    st.integers(2, 6) | st.integers(2, 60),
    st.sampled_from(["text", "keep"]),
    st.booleans(),
)
def test_prepared_responses_are_the_joined_sequences_without_their_beginnings(
    both: Both, batch: list[Example], max_length: int, special: str, drops: bool
) -> None:
    found = encode(
        both,
        batch,
        max_length=max_length,
        special_tokens=special,
        truncation="drop" if drops else "start",
    )
    expected, spelt, ended = [], 0, 0
    dropped: list[Unusable | None] = []
    for number, one in enumerate(batch):
        # EOS, which a text may end with, is there once.
        answers = [answer.removesuffix(EOS) for answer in one.responses]
        ended += sum(answer.endswith(EOS) for answer in one.responses)
        if special == "text":
            spelt += sum(text.count(EOS) for text in (one.prompt, *answers))
        head, *rest = (both.ids(t, spelt=special == "text") for t in (one.prompt, *answers))
        sides = [one_side(head, [*ids, both.eos_id], max_length) for ids in rest]
        dropped.append(None)
        if not all(answer.strip() for answer in answers):
            dropped[-1] = Unusable.EMPTY_RESPONSE
        elif drops and any(side.lost for side in sides):
            dropped[-1] = Unusable.TOO_LONG
        # A lone EOS has nothing before it and could not be scored.
        elif not all(len(side.prompt + side.response) > 1 for side in sides):
            dropped[-1] = Unusable.NO_TOKENS
        else:
            expected.append((10 * number, one, sides))
    assert found.batch.schema == PREPARED
    assert found.dropped == dropped
    if not expected:
        assert found.batch.num_rows == len(found.lost) == 0
        return
    assert (found.spelt, found.ended) == (spelt, ended)
    assert found.lost.tolist() == [side.lost for *_, sides in expected for side in sides]
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
    found = encode(both, [pair], max_length=max_length)
    row = found.batch.to_pylist()[0]
    assert short < long < max_length
    assert row["prompt_tokens"] == [len(prompt) - 2, max_length - long]
    assert row["prompt_ids"] == prompt[2:]
    assert found.lost.tolist() == [2, len(prompt) + long - max_length]


def test_a_pair_that_fits_to_the_token_is_not_truncated(both: Both) -> None:
    pair = example("Human: where?", "gate", "gate")
    needed = len(both.ids(pair.prompt)) + len(both.ids("gate")) + 1
    for max_length, expected in ((needed, 0), (needed - 1, 1)):
        assert encode(both, [pair], max_length=max_length).lost.tolist() == [expected] * 2


def test_a_response_that_is_too_long_loses_its_own_beginning(both: Both) -> None:
    pair = example("Human: where?", "at the market", "gate")
    row = encode(both, [pair], max_length=2).batch.to_pylist()[0]
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
    both = Both(Loaded(tokenizer, 0, {"eos_token": EOS}, None), None)
    found = encode(both, batch, max_length=8)
    assert found.batch["row"].to_pylist() == [0, 20, 30]
    assert found.dropped == [None, Unusable.NO_TOKENS, None, None]
    assert found.batch["response_ids"].to_pylist()[2][0] == [0]
    nothing = encode(both, batch[1:2], max_length=8)
    assert (nothing.batch.num_rows, nothing.dropped) == (0, [Unusable.NO_TOKENS])


def test_what_the_tokenizer_puts_before_a_text_stands_there_once(both: Both) -> None:
    pair, spelt = example("where?", "gate", "at"), example(f"{EOS}where?", "gate", "at")
    ids = [both.eos_id, *both.ids("where?")]
    (row,) = encode(both, [pair], bos="auto").batch.to_pylist()
    assert (row["prompt_ids"], row["prompt"]) == (ids, "where?")
    (row,) = encode(both, [spelt], bos="auto", special_tokens="keep").batch.to_pylist()
    assert row["prompt_ids"] == ids
    # It stays where the beginning goes, and all responses see the same.
    found = encode(both, [pair], bos="auto", max_length=6)
    (row,) = found.batch.to_pylist()
    room = 6 - max(map(len, row["response_ids"]))
    assert 1 < room < len(ids)
    assert row["prompt_ids"] == [both.eos_id, *ids[len(ids) - room + 1 :]]
    assert row["prompt_tokens"] == [room, room]


def test_the_end_goes_and_what_opens_an_answer_stays(both: Both) -> None:
    pair = example("\n\nHuman: where?\n\nAssistant:", "gate", "at the market")
    head, short, long = map(both.ids, (pair.prompt, *pair.responses))
    opening = both.ids("\n\nAssistant:")
    limit = len(opening) + len(long) + 3
    (row,) = encode(both, [pair], "hh", truncation="end", max_length=limit).batch.to_pylist()
    assert row["prompt_ids"] == head[:2] + opening
    assert row["response_ids"] == [[*short, both.eos_id], [*long, both.eos_id]]
    (row,) = encode(both, [pair], "hh", truncation="end", max_length=3).batch.to_pylist()
    assert row["response_ids"] == [[*short, both.eos_id][:3], long[:3]]


@pytest.fixture(scope="module")
def chat(both: Both) -> Both:
    return both._replace(loaded=both.loaded._replace(chat_template=CHAT))


def test_a_chat_template_lays_out_prompt_and_answer_and_ends_it(chat: Both) -> None:
    turns = (Turn("system", "Brief."), Turn("user", f"where{EOS}?"))
    asked = Example(turns, ("gate", f"at {EOS} it{EOS}"), pairs=((0, 1),))
    encoder = Encoder(chat.loaded, data_helpers.data(bos="never", max_length=200), "chat")
    found = encoder.encode([7], [asked])
    (row,) = found.batch.to_pylist()
    eos, end = [chat.eos_id], [chat.eos_id, *chat.ids("\n")]
    prompt = [
        *(*chat.ids("[system] Brief."), *end),
        *(*chat.ids(f"[user] where{EOS}?"), *end),
        *chat.ids("[assistant]"),
    ]
    assert row["prompt_ids"] == prompt
    assert row["response_ids"] == [[*chat.ids(t), *end] for t in (" gate", f" at {EOS} it")]
    assert row["prompt"] == f"[system] Brief.{EOS}\n[user] where{EOS}?{EOS}\n[assistant]"
    assert (found.spelt, found.ended) == (2, 1)
    assert [encoder.end] == eos
    assert encoder.asked(turns).tolist() == prompt
    assert encoder.template.name == "chat"


def test_turns_that_a_template_refuses_are_left_out_and_why(chat: Both) -> None:
    good = Example((Turn("user", "where?"),), ("gate", "at"), pairs=((0, 1),))
    bad = good._replace(turns=(Turn("tool", "3"),))
    encoder = Encoder(chat.loaded, data_helpers.data(), "chat")
    found = encoder.encode([0, 1], [bad, good])
    assert found.dropped == [Unusable.REFUSED_BY_TEMPLATE, None]
    assert found.batch["row"].to_pylist() == [1]
    assert encoder.refusal.endswith("no tools")
    with pytest.raises(UnusableError):
        encoder.asked(bad.turns)


def test_a_template_that_lays_out_the_prompt_in_two_ways_is_refused(both: Both) -> None:
    source = "{% if add_generation_prompt %}a{% else %}b{% endif %}{{ messages[-1]['content'] }}"
    loaded = both.loaded._replace(chat_template=source)
    with pytest.raises(
        InputError, match=r"row 0 .*lays out its prompt in another way where an answer"
    ):
        encode(Both(loaded, None), [example("where?", "gate", "at")], "chat")


def test_a_row_with_a_sign_is_as_any_other(both: Both) -> None:
    answer = f"gate{chr(tokens.SIGNS)}"
    for kind in ("text", "keep"):
        found = encode(both, [example("where?", answer, "at")], special_tokens=kind)
        assert (found.dropped, found.spelt) == ([None], 0)
        ((first, _),) = found.batch["response_ids"].to_pylist()
        assert both.loaded.tokenizer.decode(first[:-1]) == answer


def test_what_an_answer_is_asked_for_with_is_the_prompt_of_training(both: Both) -> None:
    turns = [Turn("user", "Where?"), Turn("assistant", "Here."), Turn("user", "And?")]
    text = "\n\nHuman: Where?\n\nAssistant: Here.\n\nHuman: And?\n\nAssistant:"
    for template, expected in (("hh", text), ("none", "And?")):
        encoder = Encoder(both.loaded, data_helpers.data(bos="never"), template)
        assert encoder.asked(turns).tolist() == both.ids(expected)
        assert encoder.end == both.eos_id
    ids = Encoder(both.loaded, data_helpers.data(), "hh").asked(turns)
    assert ids.tolist() == [both.eos_id, *both.ids(text)]
    assert ids.dtype == np.int32


def test_tokenizing_is_that_of_the_directory(tmp_path: Path) -> None:
    """What params name is what is used: a template that the base lacks is refused."""
    loaded = tokens.load(write_tokenizer(tmp_path, eos_token=EOS))
    with pytest.raises(InputError, match=r"data\.template: chat takes the chat template"):
        Encoder(loaded, data_helpers.data(template="chat"), "hh")


def test_a_response_that_spells_only_the_end_is_empty(both: Both) -> None:
    found = encode(both, [example("where?", f"{EOS}", "at"), example("where?", "gate", "at")])
    assert found.dropped == [Unusable.EMPTY_RESPONSE, None]
    assert found.batch["row"].to_pylist() == [10]


def test_spelt_tokens_are_the_same_from_batch_to_batch(both: Both) -> None:
    """The tokenizer's copy that knows them is made once, and learns of more."""
    pairs = [example(f"where {EOS}?", f"a {EOS} b", "at"), example("where?", "gate", "at")]
    encoder = Encoder(both.loaded, data_helpers.data(bos="never"), "none")
    once = encoder.encode([0, 1], pairs)
    again = encoder.encode([0, 1], pairs)
    assert once.batch.equals(again.batch)
    assert (once.spelt, again.spelt) == (2, 2)


def test_a_batch_of_which_nothing_is_usable_is_empty(both: Both) -> None:
    found = encode(both, [example("where?", EOS, "at")])
    assert (found.batch.num_rows, found.batch.schema, found.dropped) == (
        0,
        PREPARED,
        [Unusable.EMPTY_RESPONSE],
    )
