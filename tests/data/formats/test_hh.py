"""Splitting two dialogues into prompt, chosen and rejected."""

import re

import pytest
from data_helpers import patient
from hh_specified import MARKERS, as_specified
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.core.data_params import Demo
from preference.data.formats import hh
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.formats.hh import Pair, read, split
from preference.data.sources import demo

PIECES = ("\n\nHuman:", " ", "\n", "\t", "\u00a0", "a", "b", "is it", "é", "🙂", ":")

pieces = st.sampled_from(MARKERS) | st.sampled_from(PIECES) | st.text(max_size=2)
texts = st.lists(pieces, max_size=5).map("".join)
# Few are filtered out: none of their pieces holds a marker.
plain = st.sampled_from([piece for piece in PIECES if "Assistant" not in piece])
answers = st.lists(plain | st.text(max_size=2), min_size=1, max_size=5).map("".join)
answers = answers.filter(lambda text: text.strip() and "Assistant:" not in text)
# Most rows that tell one rule from another end alike up to their answers.
endings = st.tuples(texts, texts) | st.tuples(answers, answers)
dialogues = st.builds(lambda head, ends: (head + ends[0], head + ends[1]), texts, endings)


@pytest.mark.parametrize(
    "prompt",
    [
        "\n\nHuman: Why?\n\nAssistant:",
        "\n\nHuman: Why?\nAssistant:",
        "Human: Why? Assistant:",
        "Assistant:",
    ],
)
def test_the_prompt_ends_with_the_marker(prompt: str) -> None:
    assert split(prompt + " Yes.", prompt + " No.") == Pair(prompt, "Yes.", "No.")


def test_the_prompt_of_many_turns_ends_with_the_last_marker() -> None:
    prompt = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    assert split(f"{prompt} Yes.", f"{prompt} No.") == Pair(prompt, "Yes.", "No.")


def test_the_prompt_keeps_its_own_white_space() -> None:
    prompt = " \n\n Human:  Why? \n\nAssistant:"
    assert split(f"{prompt}  Yes.", f"{prompt}\tNo.") == Pair(prompt, "Yes.", "No.")


def test_responses_lose_white_space_at_both_ends_only() -> None:
    prompt = "\n\nHuman: Why?\n\nAssistant:"
    found = split(f"{prompt}\n\n Yes,\n\n indeed. \u2003", f"{prompt}\u00a0No. \r\n")
    assert found == Pair(prompt, "Yes,\n\n indeed.", "No.")


def test_a_strict_marker_comes_before_a_later_loose_one() -> None:
    found = split("a\n\nAssistant: b\nAssistant: Yes.", "a\n\nAssistant: b\nAssistant: No.")
    assert found == Pair("a\n\nAssistant:", "b\nAssistant: Yes.", "b\nAssistant: No.")


@pytest.mark.parametrize("prompt", ["Human: Why?\nAssistant:", "Human: Why?\n\nAssistant:"])
def test_a_marker_on_its_own_line_comes_before_a_later_bare_one(prompt: str) -> None:
    found = split(f"{prompt} I am Assistant: Yes.", f"{prompt} I am Assistant: No.")
    assert found == Pair(prompt, "I am Assistant: Yes.", "I am Assistant: No.")


def test_a_loose_marker_shows_that_prompts_differ_where_strict_ones_stand_apart() -> None:
    chosen = "ab\n\nAssistant: c\nAssistant: Yes."
    rejected = "a\n\nAssistant: cc\nAssistant: No."
    assert split(chosen, rejected) is Unusable.PROMPTS_DIFFER


def test_a_marker_within_one_response_leads_to_the_common_prefix() -> None:
    prompt = "\n\nHuman: Why?\n\nAssistant:"
    found = split(f"{prompt} Yes.", f"{prompt} No.\n\nHuman: So?\n\nAssistant: No.")
    assert found == Pair(prompt.strip(), "Yes.", "No.\n\nHuman: So?\n\nAssistant: No.", True)


def test_without_a_marker_the_prompt_is_the_common_prefix() -> None:
    assert split("  To be  or not", "  To be  quiet") == Pair("To be", "or not", "quiet", True)


def test_the_common_prefix_may_end_within_a_word() -> None:
    assert split("It is bad", "It is better") == Pair("It is b", "ad", "etter", True)


def test_an_empty_response_after_a_marker_leads_to_the_common_prefix() -> None:
    # With nothing after the last marker the row would be lost; the marker before it differs.
    chosen = "Why?\n\nAssistant: Yes\n\nAssistant:"
    rejected = "Why?\n\nAssistant: Yes, and\n\nAssistant:"
    found = split(chosen, rejected)
    assert found == Pair("Why?\n\nAssistant: Yes", "Assistant:", ", and\n\nAssistant:", True)


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Yes.", "No.", Unusable.EMPTY_PROMPT),
        (" Yes.", " No.", Unusable.EMPTY_PROMPT),
        ("Why? ", "Why? No.", Unusable.EMPTY_CHOSEN),
        ("\n\nAssistant:", "\n\nAssistant: No.", Unusable.EMPTY_CHOSEN),
        ("Why? Yes.", "Why? ", Unusable.EMPTY_REJECTED),
        ("\n\nAssistant: Yes.", "\n\nAssistant: \n", Unusable.EMPTY_REJECTED),
        ("a\n\nAssistant: Yes.", "b\n\nAssistant: No.", Unusable.PROMPTS_DIFFER),
        ("a\nAssistant: Yes.", "b\nAssistant: No.", Unusable.PROMPTS_DIFFER),
        ("a Assistant: Yes.", "b Assistant: No.", Unusable.PROMPTS_DIFFER),
    ],
)
def test_an_unusable_row_has_a_reason(chosen: str, rejected: str, reason: Unusable) -> None:
    assert split(chosen, rejected) is reason


@pytest.mark.parametrize("text", ["", " \n", "\n\nHuman: Why?\n\nAssistant: Yes."])
def test_a_row_of_twice_the_same_dialogue_is_usable_only_after_a_marker(text: str) -> None:
    found = split(text, text)
    if "Assistant:" in text:
        assert found == Pair("\n\nHuman: Why?\n\nAssistant:", "Yes.", "Yes.")
    else:
        assert isinstance(found, Unusable)


@settings(patient, max_examples=400)
@given(dialogues)
def test_splitting_follows_the_specification(row: tuple[str, str]) -> None:
    expected = as_specified(*row)
    found = split(*row)
    if isinstance(expected, set):
        assert isinstance(found, Unusable)
        assert found.value in expected
    else:
        assert found == expected


@patient
@given(texts, st.sampled_from(MARKERS), answers, answers)
def test_after_a_shared_marker_the_prompt_begins_both_dialogues(
    head: str, marker: str, better: str, worse: str
) -> None:
    chosen, rejected = head + marker + better, head + marker + worse
    pair = split(chosen, rejected)
    assert isinstance(pair, Pair)
    assert not pair.by_common_prefix
    assert pair.prompt.endswith("Assistant:")
    assert chosen.startswith(pair.prompt)
    assert rejected.startswith(pair.prompt)
    assert pair.chosen == chosen[len(pair.prompt) :].strip()
    assert pair.rejected == rejected[len(pair.prompt) :].strip()


@patient
@given(dialogues)
def test_responses_are_stripped_and_no_part_is_empty(row: tuple[str, str]) -> None:
    pair = split(*row)
    if isinstance(pair, Pair):
        assert pair.prompt.strip()
        assert pair.chosen == pair.chosen.strip() != ""
        assert pair.rejected == pair.rejected.strip() != ""


@patient
@given(dialogues)
def test_swapping_the_dialogues_swaps_the_responses(row: tuple[str, str]) -> None:
    pair, swapped = split(*row), split(*row[::-1])
    if isinstance(pair, Pair):
        assert swapped == pair._replace(chosen=pair.rejected, rejected=pair.chosen)
    else:
        assert isinstance(swapped, Unusable)


TURNS = [
    ("\n\nHuman: Why?\n\nAssistant:", [("user", "Why?")]),
    (
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n d\n\nAssistant:",
        [("user", "a"), ("assistant", "b"), ("user", "c\n d")],
    ),
    # Quoted, not said.
    (
        "\n\nHuman: Is 'Human: x' or\nHuman: y right?\n\nAssistant:",
        [("user", "Is 'Human: x' or\nHuman: y right?")],
    ),
    (
        "\n\nHuman: 🙂 a 🙂\n\nAssistant: 🙂\n\nHuman: a\n\nAssistant:",
        [
            ("user", "🙂 a 🙂"),
            ("assistant", "🙂"),
            ("user", "a"),
        ],
    ),
    (
        "What stands before. \n\nHuman: a\n\nAssistant:",
        [("", "What stands before."), ("user", "a")],
    ),
    ("\n\nHuman:\n\nAssistant:", []),
    ("Assistant:", []),
]


@pytest.mark.parametrize(("prompt", "said"), TURNS)
def test_turns_are_who_speaks_and_what_is_said(prompt: str, said: list[tuple[str, str]]) -> None:
    found = read({"chosen": f"{prompt} Yes.", "rejected": f"{prompt} No."})
    assert isinstance(found, Example)
    assert (found.text, found.prompt, found.responses) == (prompt, prompt, ("Yes.", "No."))
    assert (found.pairs, found.by_common_prefix) == (((0, 1),), False)
    assert list(found.turns) == said


def test_a_prompt_that_no_marker_ends_has_turns_too() -> None:
    """As the longest common prefix of two texts leaves it: stripped."""
    found = read({"chosen": "\n\nHuman: hm, yes", "rejected": "\n\nHuman: hm, no"})
    assert isinstance(found, Example)
    assert (found.prompt, found.by_common_prefix) == ("Human: hm,", True)
    assert found.turns == (Turn("user", "hm,"),)
    plain = read({"chosen": "no marker, a", "rejected": "no marker, b"})
    assert isinstance(plain, Example)
    assert plain.turns == (Turn("", "no marker,"),)


@patient
@given(dialogues)
def test_turns_of_any_prompt_are_its_own_text_in_order(row: tuple[str, str]) -> None:
    found = read(dict(zip(("chosen", "rejected"), row, strict=True)))
    if isinstance(found, Unusable):
        assert found == split(*row)
        return
    # Between them stand only the markers, and white space.
    between = r"\s*(?:(?:Human|Assistant):\s*)*"
    said = [re.escape(turn.content) for turn in found.turns]
    assert re.fullmatch(between + "".join(text + between for text in said), found.prompt)
    assert all(turn.content == turn.content.strip() != "" for turn in found.turns)


begun = st.sampled_from(["\n", " ", "Human:", "Assistant:", "\n\nHuman", "As", "x", "\ufffd"])


@given(st.lists(begun, max_size=12), st.lists(begun, max_size=4))
def test_what_is_settled_stays(before: list[str], after: list[str]) -> None:
    text = "".join(before)
    # An incomplete character stands at the end of what is known, and nowhere in what comes of it.
    whole = text.rstrip("\ufffd") + "".join(after)
    start, final = hh.settled(hh.first_turn(text)), hh.first_turn(whole)
    assert final.strip().startswith(start)
    assert hh.HUMAN not in start


def test_text_is_that_of_training_pairs() -> None:
    turns = [Turn("user", "What?")]
    assert hh.text(turns) == "\n\nHuman: What?\n\nAssistant:"
    turns += [Turn("assistant", "That."), Turn("user", "Why?")]
    assert hh.text(turns) == ("\n\nHuman: What?\n\nAssistant: That.\n\nHuman: Why?\n\nAssistant:")


def test_prompts_of_the_demo_are_dialogues() -> None:
    lengths = set()
    for row in demo.rows("test", Demo(test_rows=50)):
        pair = hh.split(*row)
        assert isinstance(pair, hh.Pair)
        found = hh.read(dict(zip(("chosen", "rejected"), row, strict=True)))
        assert isinstance(found, Example)
        assert hh.text(found.turns) == pair.prompt
        assert [turn.role for turn in found.turns[::2]] == ["user"] * len(found.turns[::2])
        assert not pair.chosen.startswith(" ")
        lengths.add(len(found.turns))
    assert lengths == {1, 3, 5, 7}
