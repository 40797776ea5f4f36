"""Truncation, against one row at a time."""

from typing import Any

import naive
import numpy as np
import pytest
from data_helpers import patient
from hypothesis import given
from hypothesis import strategies as st

from preference.data.truncation import Cut, How, keep, truncate
from preference.store.examples import Ragged

ids = st.integers(0, 9)
ragged = st.lists(st.lists(ids, max_size=6), max_size=6)
prompts = st.lists(
    st.tuples(
        st.lists(ids, max_size=8),
        st.lists(st.lists(ids, min_size=1, max_size=8), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def lists(rows: Ragged) -> list[list[int]]:
    return [row.tolist() for row in rows]


def keep_last(rows: Ragged, limits: np.ndarray | int) -> Ragged:
    return keep(rows, 0, np.minimum(rows.lengths, limits))


@patient
@given(ragged, st.integers(0, 7))
def test_one_limit_cuts_every_row_to_its_last_tokens(rows: list[list[int]], limit: int) -> None:
    cut = keep_last(naive.ragged(rows), limit)
    assert lists(cut) == [row[max(0, len(row) - limit) :] for row in rows]


@patient
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 7)), max_size=6))
def test_each_row_has_its_own_limit(rows: list[tuple[list[int], int]]) -> None:
    limits = np.array([limit for _, limit in rows], dtype=np.int64)
    cut = keep_last(naive.ragged([row for row, _ in rows]), limits)
    assert lists(cut) == [row[max(0, len(row) - limit) :] for row, limit in rows]


@patient
@given(st.lists(st.tuples(st.lists(ids, max_size=6), st.integers(0, 6), st.integers(0, 6))))
def test_each_row_keeps_its_first_and_its_last_tokens(
    rows: list[tuple[list[int], int, int]],
) -> None:
    first = np.array([min(first, len(row)) for row, first, _ in rows], dtype=np.int64)
    last = np.array([min(b, len(r) - min(a, len(r))) for r, a, b in rows], dtype=np.int64)
    cut = keep(naive.ragged([row for row, _, _ in rows]), first, last)
    assert lists(cut) == [
        row[:a] + row[len(row) - b :]
        for (row, _, _), a, b in zip(rows, first.tolist(), last.tolist(), strict=True)
    ]


def cut(
    examples: list[tuple[list[int], list[list[int]]]], limit: int, how: How, *fixed: int
) -> tuple[Cut, list[list[tuple[list[int], list[int]]]]]:
    """And what stands before each response, with the response."""
    counts = np.array([len(responses) for _, responses in examples])
    heads = naive.ragged([prompt for prompt, _ in examples])
    answers = naive.ragged([response for _, responses in examples for response in responses])
    kwargs: dict[str, Any] = {"fixed": fixed} if fixed else {}
    found = truncate(heads, answers, counts, limit, how, **kwargs)
    rest = zip(found.kept.tolist(), lists(found.responses), strict=True)
    seen = []
    for prompt, count in zip(lists(found.prompts), counts.tolist(), strict=True):
        of_prompt = [next(rest) for _ in range(count)]
        seen.append([(prompt[len(prompt) - kept :], response) for kept, response in of_prompt])
        # As much of each as the response that keeps most of it needs.
        assert len(prompt) == max(kept for kept, _ in of_prompt)
    return found, seen


@patient
@given(prompts, st.integers(2, 12), st.sampled_from(["start", "drop"]))
def test_the_beginning_goes_for_each_response_by_itself(
    examples: list[tuple[list[int], list[list[int]]]], limit: int, how: How
) -> None:
    found, seen = cut(examples, limit, how)
    expected = [[naive.cut(prompt, r, limit) for r in responses] for prompt, responses in examples]
    assert seen == expected
    assert found.lost.tolist() == [
        max(0, len(prompt) + len(r) - limit) for prompt, responses in examples for r in responses
    ]


@patient
@given(prompts, st.integers(2, 12), st.integers(1, 3), st.integers(0, 3))
def test_what_is_fixed_stays_and_all_responses_see_the_same(
    examples: list[tuple[list[int], list[list[int]]]], limit: int, front: int, back: int
) -> None:
    for how in ("start", "end"):
        found, seen = cut(examples, limit, how, front, back)
        lost = iter(found.lost.tolist())
        for (prompt, responses), of_prompt in zip(examples, seen, strict=True):
            room = min(len(prompt), limit - min(limit, max(map(len, responses))))
            if how == "start":
                first = min(front, room)
                head = prompt[:first] + prompt[len(prompt) - (room - first) :]
            else:
                last = min(back, room)
                head = prompt[: room - last] + prompt[len(prompt) - last :]
            for response, (before, kept) in zip(responses, of_prompt, strict=True):
                assert before == head
                assert kept == (response[:limit] if how == "end" else response[-limit:])
                assert next(lost) == len(prompt) + len(response) - len(before) - len(kept)


@pytest.mark.parametrize(
    ("how", "fixed", "prompt", "kept", "responses", "lost"),
    [
        ("start", (0, 0), [3, 4, 5], [3, 1], [[6], [7, 8, 9]], [2, 4]),
        ("start", (1, 0), [1], [1, 1], [[6], [7, 8, 9]], [4, 4]),
        ("end", (0, 0), [1], [1, 1], [[6], [7, 8, 9]], [4, 4]),
        ("end", (0, 1), [5], [1, 1], [[6], [7, 8, 9]], [4, 4]),
    ],
)
def test_by_hand(
    how: How,
    fixed: tuple[int, int],
    prompt: list[int],
    kept: list[int],
    responses: list[list[int]],
    lost: list[int],
) -> None:
    found, _ = cut([([1, 2, 3, 4, 5], [[6], [7, 8, 9]])], 4, how, *fixed)
    assert lists(found.prompts) == [prompt]
    assert found.kept.tolist() == kept
    assert lists(found.responses) == responses
    assert found.lost.tolist() == lost
