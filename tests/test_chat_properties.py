"""What a model sees of messages is what its chat template makes of them, whatever they say."""

from collections.abc import Sequence

import chat_cases
import hypothesis
import pytest
from chat_cases import SPECIAL, TEMPLATES
from data_helpers import PARAMS
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from preference.core.data_params import Data
from preference.data.encoding import Encoded, Encoder
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.tokens import SIGN

unhurried = hypothesis.settings(deadline=None, max_examples=25)

said = st.text(max_size=30).filter(
    lambda text: text.strip() and not any(s in text for s in SPECIAL) and not SIGN.search(text)
)
spelling = st.lists(st.one_of(st.sampled_from(SPECIAL), st.sampled_from(["a", " ", "Hm\n"])))
every_template = pytest.mark.parametrize("name", TEMPLATES)
every_tokenizer = pytest.mark.parametrize(
    ("kind", "adds_bos"), [("bytes", False), ("bytes", True), ("pieces", True)]
)


@st.composite
def examples(draw: st.DrawFn, texts: st.SearchStrategy[str] = said) -> Example:
    """Turns that alternate and end with the user's, and two answers."""
    turns = [Turn("user", draw(texts))]
    for _ in range(draw(st.integers(0, 2))):
        turns += [Turn("assistant", draw(texts)), Turn("user", draw(texts))]
    return Example(tuple(turns), (draw(texts), draw(texts)), None, ((0, 1),))


def encoder(name: str, kind: str, adds_bos: bool, **settings: object) -> Encoder:
    data = Data.model_validate({**PARAMS["data"], "max_length": 100_000, **settings})
    template, _ = TEMPLATES[name]
    return Encoder(chat_cases.loaded(template, kind, adds_bos=adds_bos), data, "chat")


def sequences(encoded: Encoded) -> list[tuple[list[int], list[int]]]:
    """Prompt and response of each response."""
    (row,) = encoded.batch.to_pylist()
    found = zip(row["prompt_tokens"], row["response_ids"], strict=True)
    return [(row["prompt_ids"][len(row["prompt_ids"]) - n :], ids) for n, ids in found]


def own_ids(name: str, kind: str, adds_bos: bool, turns: Sequence[Turn]) -> list[int]:
    """What transformers makes of a whole conversation."""
    template, _ = TEMPLATES[name]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=chat_cases.tokenizer(kind, adds_bos=adds_bos),
        bos_token="<s>",
        eos_token="</s>",
    )
    return fast.apply_chat_template(
        [turn._asdict() for turn in turns], chat_template=template, tokenize=True, return_dict=False
    )


@every_template
@every_tokenizer
@unhurried
@given(examples())
def test_ids_are_those_of_the_template(
    name: str, kind: str, adds_bos: bool, example: Example
) -> None:
    found = sequences(encoder(name, kind, adds_bos).encode([0], [example]))
    tokenizer = chat_cases.tokenizer(kind, adds_bos=adds_bos)
    vocabulary = tokenizer.get_vocab()
    bos, end = vocabulary["<s>"], vocabulary[TEMPLATES[name][1]]
    assert len(found) == 2
    for (prompt, response), text in zip(found, example.responses, strict=True):
        expected = own_ids(name, kind, adds_bos, [*example.turns, Turn("assistant", text)])
        # ChatML writes no BOS: where the tokenizer puts one, it is there all the same.
        added = [bos] if adds_bos and expected[0] != bos else []
        assert prompt + response == added + expected
        assert (prompt + response).count(bos) == (1 if adds_bos or name != "chatml" else 0)
        # What ends the answer stands there once.
        assert response.count(end) == 1
        # And the answer has a token of its own that is scored.
        assert len(response) > 1


@every_template
@every_tokenizer
@unhurried
@given(example=examples(spelling.map("".join).filter(str.strip)))
def test_special_tokens_that_data_spell_stay_text(
    name: str, kind: str, adds_bos: bool, example: Example
) -> None:
    ended = [text.removesuffix("</s>") for text in example.responses]
    hypothesis.assume(all(text.strip() for text in ended))
    someone = encoder(name, kind, adds_bos)
    encoded = someone.encode([0], [example])
    # In the same places, with words for the tokens.
    plain = [turn._replace(content="x") for turn in example.turns]
    tokenizer = chat_cases.tokenizer(kind, adds_bos=adds_bos)
    special = {tokenizer.token_to_id(token) for token in SPECIAL}
    (row,) = encoded.batch.to_pylist()
    for (prompt, response), text in zip(sequences(encoded), ended, strict=True):
        expected = own_ids(name, kind, adds_bos, [*plain, Turn("assistant", "x")])
        added = adds_bos and expected[0] != tokenizer.token_to_id("<s>")
        ids = prompt + response
        written = [i for i in expected if i in special]
        assert [i for i in ids if i in special][added:] == written
        whole = someone.template.answered(example, text)
        read = tokenizer.decode(ids[added:], skip_special_tokens=False)
        if kind == "bytes":
            assert read == whole
    assert encoded.spelt == sum(
        text.count(token)
        for text in (*(turn.content for turn in example.turns), *ended)
        for token in SPECIAL
    )
    assert row["responses"] == list(example.responses)


@every_template
def test_kept_special_tokens_are_what_the_tokenizer_makes_of_them(name: str) -> None:
    example = Example((Turn("user", "a</s>b"),), ("c<|im_end|>d", "e"), None, ((0, 1),))
    encoded = encoder(name, "bytes", False, special_tokens="keep").encode([0], [example])
    assert encoded.spelt == 0
    for (prompt, response), text in zip(sequences(encoded), example.responses, strict=True):
        turns = [*example.turns, Turn("assistant", text)]
        assert prompt + response == own_ids(name, "bytes", False, turns)


def test_what_a_template_refuses_is_left_out_with_its_words() -> None:
    system = Example((Turn("system", "s"), Turn("user", "q")), ("a", "b"), None, ((0, 1),))
    good = Example((Turn("user", "q"),), ("a", "b"), None, ((0, 1),))
    someone = encoder("gemma", "bytes", True)
    encoded = someone.encode([3, 4], [system, good])
    assert encoded.dropped == [Unusable.REFUSED_BY_TEMPLATE, None]
    assert encoded.batch["row"].to_pylist() == [4]
    assert "System role not supported" in someone.refusal


def test_the_tokens_that_end_an_answer() -> None:
    for name, (_, end) in TEMPLATES.items():
        assert encoder(name, "bytes", False).end == chat_cases.tokenizer().token_to_id(end)


def test_the_day_does_not_change_the_prompt() -> None:
    template = "{{ strftime_now('%d %b %Y') }}: " + TEMPLATES["chatml"][0]
    data = Data.model_validate(PARAMS["data"])
    someone = Encoder(chat_cases.loaded(template), data, "chat")
    assert someone.template.prompt(Example((Turn("user", "q"),), ())).startswith("26 Jul 2024: <")
