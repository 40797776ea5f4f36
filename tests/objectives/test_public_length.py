"""The public length: of each response, what is cut to it, and what is refused."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.core.errors import InputError
from preference.objectives.public_length import public_lengths, to_public_length

ids = st.lists(st.integers(3, 9), min_size=1, max_size=5)
texts = st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3), ids, ids))


@given(texts)
def test_both_responses_of_a_pair_are_cut_to_the_shorter_one(
    found: list[tuple[list[int], list[int], list[int]]],
) -> None:
    examples = naive.make_pairs(found, 9)
    cut = to_public_length(examples)
    assert cut.index is examples.index
    assert cut.prompts is examples.prompts
    assert cut.prompt_tokens is examples.prompt_tokens
    kept = [
        response[: min(map(len, rest))].tolist()
        for place in range(0, len(examples.responses), 2)
        for rest in [[examples.responses[place], examples.responses[place + 1]]]
        for response in rest
    ]
    assert [response.tolist() for response in cut.responses] == kept
    assert public_lengths(examples).tolist() == [len(response) for response in kept]


def test_a_response_in_no_pair_is_whole() -> None:
    examples = naive.make_examples([([1], [[5, 6, 7], [8]]), ([2], [[5, 6, 7, 8]])], 9, [(0, 1)])
    assert public_lengths(examples).tolist() == [1, 1, 4]


def test_a_response_in_pairs_of_several_lengths_is_refused_by_its_row() -> None:
    rest = [[5, 6, 7], [8, 9], [5]]
    examples = naive.make_examples([([1], [[5], [6]]), ([1], rest)], 9, [(0, 1), (2, 3), (2, 4)])
    with pytest.raises(InputError, match=r"a response of row 1 .* \{pairs: best-worst\}"):
        public_lengths(examples)
    # Several pairs of one such length can be read in one way only.
    examples = naive.make_examples([([1], [[5, 6], [7], [8]])], 9, [(0, 1), (0, 2)])
    np.testing.assert_array_equal(public_lengths(examples), [1, 1, 1])
