"""Rows of the raw table that all formats but hh-rlhf's are written to."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.core.data_params import Rankings
from preference.data.formats import conversations
from preference.data.formats.example import Example, Turn, Unusable

ASKED = Turn("user", "Where?")


def read(row: dict[str, Any], **rankings: Any) -> Example | Unusable:
    """Through the table."""
    table = pa.Table.from_pylist([row], schema=conversations.SCHEMA)
    return conversations.read(table.to_pylist()[0], Rankings(**rankings))


def test_without_scores_and_label_the_first_is_preferred() -> None:
    found = read(conversations.row([ASKED], ["Here.", "No."]))
    assert found == Example((ASKED,), ("Here.", "No."), None, pairs=((0, 1),))


def test_a_text_is_the_users_and_stays_as_it_is() -> None:
    found = read(conversations.row([Turn("", " Where?\n")], ["Here.", "No."]))
    assert found == Example((Turn("user", " Where?\n"),), ("Here.", "No."), " Where?\n", ((0, 1),))


@pytest.mark.parametrize("weight", [None, 0.0, 0.5])
@pytest.mark.parametrize("label", [True, False])
def test_a_label_is_of_the_only_response(label: bool, weight: float | None) -> None:
    found = read(conversations.row([ASKED], ["Here."], label=label, weight=weight))
    assert found == Example((ASKED,), ("Here.",), None, (), (label,), (weight,))


@given(
    st.lists(st.integers(0, 4).map(float), min_size=2, max_size=6),
    st.sampled_from([0.0, 1.0, 1.5]),
)
def test_rankings_give_every_two_above_the_gap_or_the_ends(scores: list[float], gap: float) -> None:
    row = conversations.row([ASKED], ["x"] * len(scores), scores=scores)
    places = range(len(scores))
    expected = {(a, b) for a in places for b in places if scores[a] - scores[b] > gap}
    found = read(row, min_gap=gap)
    pairs = () if isinstance(found, Unusable) else found.pairs
    assert len(pairs) == len(expected)
    assert set(pairs) == expected
    ends = read(row, pairs="best-worst", min_gap=gap)
    if isinstance(ends, Unusable):
        assert ends == Unusable.NO_PREFERENCE
        assert max(scores) - min(scores) <= gap
    else:
        ((best, worst),) = ends.pairs
        assert (scores[best], scores[worst]) == (max(scores), min(scores))


@pytest.mark.parametrize(
    ("prompt", "responses", "reason"),
    [
        ([], ["a", "b"], Unusable.EMPTY_PROMPT),
        ([Turn("system", " "), Turn("user", "\n")], ["a", "b"], Unusable.EMPTY_PROMPT),
        ([ASKED], ["a", " "], Unusable.EMPTY_RESPONSE),
        ([ASKED], ["", "b"], Unusable.EMPTY_RESPONSE),
        ([ASKED, Turn("assistant", "Hm")], ["a", "b"], Unusable.ROLE_ORDER),
        ([Turn("system", "Hm")], ["a", "b"], Unusable.ROLE_ORDER),
    ],
)
def test_why_a_row_gives_no_example(
    prompt: list[Turn], responses: list[str], reason: Unusable
) -> None:
    assert read(conversations.row(prompt, responses)) == reason
    assert reason in conversations.REASONS


def test_a_prompt_may_end_with_a_tool() -> None:
    found = read(conversations.row([ASKED, Turn("tool", "At 7.")], ["a", "b"]))
    assert isinstance(found, Example)
    assert found.turns == (ASKED, Turn("tool", "At 7."))


@pytest.mark.parametrize("reason", conversations.REASONS)
def test_a_reason_that_was_found_before_is_kept(reason: Unusable) -> None:
    assert read(conversations.unusable(reason)) == reason


@pytest.mark.parametrize("scores", [[1.0, float("nan")], [float("inf"), 0.0]])
def test_scores_that_do_not_rank_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        conversations.row([ASKED], ["a", "b"], scores=scores)


@pytest.mark.parametrize(("prompt", "response"), [("\ud800", "a"), ("a", "\ud800")])
def test_half_of_a_surrogate_pair_is_refused(prompt: str, response: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        conversations.row([Turn("user", prompt)], [response, "b"])
