"""Kinds of pairs: every pair in one, and none too small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.report import groups
from preference.report.groups import Groups


def places(found: Groups) -> list[tuple[str, list[int]]]:
    return [(label, inside.nonzero()[0].tolist()) for label, inside in found.kinds]


def counts(found: Groups) -> dict[str, int]:
    return {label: int(inside.sum()) for label, inside in found.kinds}


def test_length_groups_by_hand() -> None:
    # Sizes 1, 1, 2, 3, 9, 10: a third is up to 1, two thirds are up to 3.
    found = groups.by_length(np.array([1, -1, 2, -3, 9, -10, 0]), least=1)
    assert found.note == ""
    assert places(found) == [
        ("4+ shorter", [5]),
        ("2 to 3 shorter", [3]),
        ("1 shorter", [1]),
        ("equal", [6]),
        ("1 longer", [0]),
        ("2 to 3 longer", [2]),
        ("4+ longer", [4]),
    ]


def test_turn_groups_by_hand() -> None:
    found = groups.by_turns(np.array([7, 1, 6, 3, 0, 1]), least=1)
    assert found.note == ""
    assert places(found) == [("0", [4]), ("1", [1, 5]), ("3", [3]), ("6+", [0, 2])]


def test_small_groups_of_lengths_are_joined_on_their_side_or_left_out() -> None:
    # Terciles of the sizes 1 (60 times), 2 (60), 3 (60): 1 and 2.
    shorter, longer = [-1] * 50 + [-2] * 10 + [-3] * 10, [1] * 10 + [2] * 50 + [3] * 50
    found = groups.by_length(np.array([*shorter, 0, 0, *longer]))
    assert counts(found) == {
        "2+ shorter": 20,
        "1 shorter": 50,
        "1 to 2 longer": 60,
        "3+ longer": 50,
    }
    assert found.note == (
        "neighbouring groups of fewer than 20 pairs joined; "
        "left out: 2 pairs in groups of fewer than 20"
    )


def test_a_side_of_too_few_pairs_is_left_out() -> None:
    found = groups.by_length(np.array([-5] * 3 + [1] * 30 + [9] * 30))
    assert counts(found) == {"1 longer": 30, "2 to 9 longer": 30}
    assert found.note == "left out: 3 pairs in groups of fewer than 20"


def test_small_groups_of_turns_are_joined() -> None:
    found = groups.by_turns(np.repeat([1, 2, 3, 4, 5, 8], [5, 30, 25, 12, 4, 3]))
    # The last ones are 19 together, so they go to their neighbour.
    assert counts(found) == {"1 to 2": 35, "3+": 44}
    assert found.note == "neighbouring groups of fewer than 20 pairs joined"


def test_small_sources_are_left_out() -> None:
    first = np.arange(30) < 25
    found = groups.by_source({"a": first, "b": ~first})
    assert counts(found) == {"a": 25}
    assert found.note == "left out: 5 pairs in groups of fewer than 20"
    assert groups.by_source({}) == Groups([], "")


@pytest.mark.parametrize("least", [1, 20])
def test_groups_of_nothing(least: int) -> None:
    nothing = np.array([], dtype=int)
    for found in (groups.by_length(nothing, least), groups.by_turns(nothing, least=least)):
        assert found == Groups([], "")


@given(st.lists(st.integers(-300, 300), max_size=60), st.integers(1, 9))
def test_every_pair_is_in_one_length_group_or_left_out(values: list[int], least: int) -> None:
    difference = np.array(values, dtype=int)
    found = groups.by_length(difference, least)
    together = sum((inside.astype(int) for _, inside in found.kinds), np.zeros(len(values), int))
    assert set(together.tolist()) <= {0, 1}
    assert all(inside.sum() >= least for _, inside in found.kinds)
    out = int((together == 0).sum())
    assert (f"left out: {out} pairs" in found.note) == (out > 0)
    # Only a side as a whole, or the equal ones, can be left out.
    for side in (-1, 0, 1):
        on_side = np.sign(difference) == side
        assert len(set(together[on_side].tolist())) <= 1
    assert len({label for label, _ in found.kinds}) == len(found.kinds) <= 7


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 9))
def test_every_pair_is_in_one_turn_group(values: list[int], least: int) -> None:
    turns = np.array(values)
    found = groups.by_turns(turns, least=least)
    for label, inside in found.kinds:
        low, _, high = label.rstrip("+").partition(" to ")
        ends = int(low), np.inf if label.endswith("+") else int(high or low)
        assert all(ends[0] <= turn <= ends[1] for turn in turns[inside])
    kept = sum(int(inside.sum()) for _, inside in found.kinds)
    assert kept == (len(turns) if len(turns) >= least else 0)
