"""Rows of conversations: which example each gives, or why none."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.core.params import Rankings
from preference.data.formats import conversations
from preference.data.formats.example import Example, Turn, Unusable

TEXT = [Turn("", "Which?")]
TURNS = [Turn("system", "Be brief."), Turn("user", "Which?")]
ALL = Rankings()


def test_two_responses_without_more_are_a_pair() -> None:
    found = conversations.read(conversations.row(TURNS, ["this", "that"]), ALL)
    assert found == Example(tuple(TURNS), ("this", "that"), pairs=((0, 1),))


def test_a_prompt_of_nobody_is_a_text_that_the_data_lay_out() -> None:
    found = conversations.read(conversations.row(TEXT, ["this", "that"]), ALL)
    assert isinstance(found, Example)
    assert (found.turns, found.text, found.prompt) == (
        (Turn("user", "Which?"),),
        "Which?",
        "Which?",
    )


def test_prompts_of_turns_are_told_apart() -> None:
    one = Example((Turn("user", "a"), Turn("assistant", "b")), ())
    other = Example((Turn("user", "a\n\nassistant"), Turn("", "b")), ())
    assert one.prompt != Example((Turn("user", "a"), Turn("user", "b")), ()).prompt
    assert one.prompt == "user\na\n\nassistant\nb"
    assert other.prompt != one.prompt


@pytest.mark.parametrize(("label", "weight"), [(True, None), (False, 0.5), (False, 0.0)])
def test_a_label_is_of_the_only_response(label: bool, weight: float | None) -> None:
    row = conversations.row(TEXT, ["this"], label=label, weight=weight)
    found = conversations.read(row, ALL)
    assert isinstance(found, Example)
    assert (found.pairs, found.labels, found.weights) == ((), (label,), (weight,))


RANKINGS = [
    (Rankings(), ((1, 2), (1, 0), (2, 0))),
    (Rankings(min_gap=1.0), ((1, 0),)),
    (Rankings(pairs="best-worst"), ((1, 0),)),
    (Rankings(pairs="best-worst", min_gap=1.5), ((1, 0),)),
    (Rankings(pairs="best-worst", min_gap=2.0), ()),
]


@pytest.mark.parametrize(("rankings", "pairs"), RANKINGS)
def test_the_higher_score_is_chosen_in_each_pair(
    rankings: Rankings, pairs: tuple[tuple[int, int], ...]
) -> None:
    row = conversations.row(TEXT, ["worst", "best", "good"], scores=[0, 2, 1])
    found = conversations.read(row, rankings)
    assert found == (
        Example((Turn("user", "Which?"),), ("worst", "best", "good"), "Which?", pairs)
        if pairs
        else Unusable.NO_PREFERENCE
    )


@given(st.lists(st.integers(0, 3).map(float), min_size=2, max_size=6), st.integers(0, 2))
def test_every_two_that_are_more_than_the_gap_apart_are_a_pair_once(
    scores: list[float], gap: int
) -> None:
    row = conversations.row(TEXT, ["x"] * len(scores), scores=scores)
    found = conversations.read(row, Rankings(min_gap=gap))
    places = range(len(scores))
    expected = {(a, b) for a in places for b in places if scores[a] > scores[b] + gap}
    pairs = () if isinstance(found, Unusable) else found.pairs
    assert len(pairs) == len(expected)
    assert set(pairs) == expected


UNUSABLE: list[tuple[dict[str, Any], Unusable]] = [
    (conversations.row([], ["a", "b"]), Unusable.EMPTY_PROMPT),
    (conversations.row([Turn("", " \n")], ["a", "b"]), Unusable.EMPTY_PROMPT),
    (conversations.row([Turn("system", ""), Turn("user", " ")], ["a", "b"]), Unusable.EMPTY_PROMPT),
    (conversations.row(TEXT, ["a", "\n"]), Unusable.EMPTY_RESPONSE),
    (conversations.row(TEXT, ["a", "b"], scores=[1.0, 1.0]), Unusable.NO_PREFERENCE),
    (conversations.row([*TURNS, Turn("assistant", "a")], ["b", "c"]), Unusable.ROLE_ORDER),
    (conversations.row(TURNS[:1], ["b", "c"]), Unusable.ROLE_ORDER),
    (conversations.unusable(Unusable.SEVERAL_TURNS), Unusable.SEVERAL_TURNS),
]


@pytest.mark.parametrize(("row", "reason"), UNUSABLE)
def test_an_unusable_row_has_a_reason(row: dict[str, Any], reason: Unusable) -> None:
    assert conversations.read(row, ALL) is reason
    assert reason in conversations.REASONS


def test_rows_go_through_a_table_as_they_are() -> None:
    rows = [
        conversations.row(TURNS, ["a", "b"], scores=[1, 0]),
        conversations.row(TEXT, ["a"], label=False, weight=0.5),
        conversations.row(TEXT, ["a", "b"]),
        conversations.unusable(Unusable.MORE_THAN_TEXT),
    ]
    assert pa.Table.from_pylist(rows, schema=conversations.SCHEMA).to_pylist() == rows


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_scores_that_do_not_rank_are_refused_in_a_raw_table(scores: list[float]) -> None:
    row = conversations.row(TEXT, ["a", "b"]) | {"scores": scores}
    with pytest.raises(ValueError, match="2 responses need as many finite scores"):
        conversations.read(row, ALL)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_do_not_rank_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        conversations.row(TEXT, ["a", "b"], scores=[1.0, score])


def test_half_of_a_surrogate_pair_is_refused() -> None:
    for prompt, response in (("\ud800", "a"), ("a", "\ud800")):
        with pytest.raises(UnicodeEncodeError):
            conversations.row([Turn("user", prompt)], [response, "b"])
