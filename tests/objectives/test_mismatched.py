"""Mismatched combinations: which prompt stands before a response, and how much of it."""

import naive
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.objectives.mismatched import mismatched
from preference.store.examples import Examples

unhurried = settings(deadline=None)
# Of few different prompts, so that some are equal.
prompts = st.lists(st.integers(0, 2), max_size=3)
responses = st.lists(st.lists(st.integers(3, 9), min_size=2, max_size=5), min_size=1, max_size=3)
splits = st.lists(st.tuples(prompts, responses), min_size=1, max_size=9)


def made(texts: list[tuple[list[int], list[list[int]]]], limit: int = 7) -> Examples:
    return naive.make_examples(texts, limit, [])


@unhurried
@given(splits, st.integers(0, 3))
def test_each_response_stands_behind_another_prompt_where_there_is_one(
    texts: list[tuple[list[int], list[list[int]]]], seed: int
) -> None:
    examples = made(texts)
    found = mismatched(examples, seed)
    assert found.index is examples.index
    assert found.responses is examples.responses
    assert found.longest <= examples.longest
    whole = [prompt.tolist() for prompt in examples.prompts]
    others = [prompt.tolist() for prompt in found.prompts]
    assert all(other in whole for other in others)
    # Something stands before every scored token.
    assert (found.lengths >= 2).all()
    most = max(whole.count(prompt) for prompt in whole)
    if 2 * most <= len(whole) and [] not in whole:
        assert all(one != other for one, other in zip(whole, others, strict=True))
        # A permutation: all prompts have a part in the estimate.
        assert sorted(others) == sorted(whole)
    for response, ids in enumerate(examples.responses):
        before, after = naive.sequence(found, response)
        other = others[found.index.prompt_of[response]]
        # Its end, as much of it as there is room for.
        assert before == other[len(other) - len(before) :]
        assert len(before) == min(len(other), examples.longest - len(ids))
        assert after == ids.tolist()


def test_the_seed_says_which_and_nothing_else() -> None:
    texts = [([row], [[50, 51], [52, 53]]) for row in range(40)]
    drawn = [[p.tolist() for p in mismatched(made(texts), seed).prompts] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    # Not merely the next one in the data's order.
    assert drawn[0] != [[(row + 1) % 40] for row in range(40)]


def test_both_responses_to_a_prompt_stand_behind_one() -> None:
    examples = naive.make_pairs(naive.random_texts(9), 16)
    found = mismatched(examples, 0)
    assert found.index.pairs.tolist() == examples.index.pairs.tolist()
    assert found.prompt_tokens.shape == examples.prompt_tokens.shape


def test_an_empty_prompt_is_nobodys() -> None:
    """A response of one token would have nothing before it."""
    found = mismatched(made([([], [[5, 6]]), ([1], [[5]])]), 0)
    assert [p.tolist() for p in found.prompts] == [[1], [1]]
    alone = mismatched(made([([1, 2], [[5]])]), 0)
    assert alone.prompts[0].tolist() == [1, 2]
    assert np.array_equal(alone.prompt_tokens, [2])
