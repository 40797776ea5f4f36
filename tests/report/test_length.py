"""What lengths explain, by hand."""

import numpy as np
import pytest
from naive import make_scores
from scipy import stats

from preference.report import length

# Chosen and rejected: longer by much, alike, shorter by much, equal, alike and shorter.
TOKENS = np.array([[30, 10], [20, 18], [10, 30], [7, 7], [90, 99]])


def prepared(longer: int, shorter: int) -> dict[str, dict[str, int]]:
    return {"train": {"chosen_longer": longer, "rejected_longer": shorter}}


def test_lengths_are_alike_that_differ_by_a_tenth_of_the_longer_at_most() -> None:
    assert length.alike(TOKENS).tolist() == [False, True, False, True, True]
    assert length.alike(np.array([[10, 9], [9, 8], [100, 89]])).tolist() == [True, False, False]


def test_length_alone_knows_which_response_is_longer_and_no_more() -> None:
    assert length.alone(TOKENS, longer=True).tolist() == [True, True, False, False, False]
    assert length.alone(TOKENS, longer=False).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("longer", "shorter", "found"), [(3, 2, True), (2, 3, False), (2, 2, True)]
)
def test_which_length_is_preferred_is_learned_from_training_pairs(
    longer: int, shorter: int, found: bool
) -> None:
    assert length.prefers_longer(prepared(longer, shorter)) == found


def test_the_rows_to_the_letter() -> None:
    scores = make_scores(
        ([-1.0, -1.0, -1.0, -9.0, -1.0], TOKENS[:, 0].tolist()),
        ([-2.0, -2.0, -2.0, -2.0, -2.0], TOKENS[:, 1].tolist()),
    )
    # Of the three alike one is right by length, two by the model.
    third, two = (stats.binomtest(k, 3).proportion_ci(method="wilson") for k in (1, 2))
    # Right on 2 more pairs of 5, wrong on none more: two tosses of a coin.
    differences = np.array([0, 0, 1, 0, 1])
    span = stats.ttest_1samp(differences, 0).confidence_interval()
    alone, model = length.rows({"SFT": scores}, prepared(2, 1), normalize=False, decimals=3)
    assert alone[:2] == ["length alone (longer preferred)", "0.333"]
    assert alone[2:] == [f"{third.low:.3f} to {third.high:.3f}", "0.400", "", ""]
    assert model[:3] == ["SFT", "0.667", f"{two.low:.3f} to {two.high:.3f}"]
    # Student's interval would end beyond 1.
    assert span.high > 1
    assert model[3:] == ["+0.400", f"{span.low:+.3f} to +1.000", "0.500"]


def test_where_no_lengths_are_alike_nothing_is_said_of_them() -> None:
    scores = make_scores(([-1.0, -3.0], [30, 40]), ([-2.0, -2.0], [10, 10]))
    (_, *alone), (_, *model) = length.rows({"SFT": scores}, prepared(1, 2), False, 2)
    assert alone[:3] == ["n/a", "n/a to n/a", "0.00"]
    assert model[:3] == ["n/a", "n/a to n/a", "+0.50"]


def test_without_pairs_nothing_is_said_of_lengths() -> None:
    none = make_scores(([], []), ([], []))
    assert length.rows({"SFT": none}, prepared(0, 0), normalize=True, decimals=2) == []
