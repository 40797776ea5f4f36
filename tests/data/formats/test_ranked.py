"""Rankings: which pairs they give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.data.formats import ranked
from preference.data.formats.example import Example, Unusable


def test_the_higher_score_is_chosen_in_each_pair() -> None:
    found = ranked.read("Which?", ["worst", "best", "good"], [0.0, 2.0, 1.0])
    assert found == Example(
        "Which?",
        ("worst", "best", "good"),
        turns=(("user", 0, 6),),  # type: ignore[arg-type]
        pairs=((1, 2), (1, 0), (2, 0)),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((" ", ["a", "b"], [1.0, 0.0]), Unusable.EMPTY_PROMPT),
        (("Which?", ["a", "\n"], [1.0, 0.0]), Unusable.EMPTY_RESPONSE),
        (("Which?", ["a", "b"], [1.0, 1.0]), Unusable.NO_PREFERENCE),
        (("Which?", ["a"], [1.0]), Unusable.NO_PREFERENCE),
        (("Which?", [], []), Unusable.NO_PREFERENCE),
    ],
)
def test_rows_without_a_preference_are_unusable(
    row: tuple[str, list[str], list[float]], reason: Unusable
) -> None:
    assert ranked.read(*row) == reason
    assert reason in ranked.REASONS


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_scores_that_do_not_rank_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="2 completions need as many finite scores"):
        ranked.read("Which?", ["a", "b"], scores)


@given(st.lists(st.integers(0, 3).map(float), min_size=2, max_size=6))
def test_every_two_with_different_scores_are_a_pair_once(scores: list[float]) -> None:
    found = ranked.read("Which?", ["x"] * len(scores), scores)
    places = range(len(scores))
    expected = {(a, b) for a in places for b in places if scores[a] > scores[b]}
    pairs = [] if isinstance(found, Unusable) else found.pairs
    assert len(pairs) == len(expected)
    assert set(pairs) == expected
