"""Rankings: which rows they give."""

from typing import Any

import pytest

from preference.data.formats import conversations, ranked
from preference.data.formats.example import Turn

GOOD: dict[str, Any] = {"prompt": "Which?", "completions": ["a", "b"], "scores": [1.0, 0.0]}
USER = {"role": "user", "content": "Which?"}


def test_a_row_of_texts_is_their_prompt_with_responses_and_scores() -> None:
    row = {"prompt": "Which?", "completions": ["worst", "best", "good"], "scores": [0, 2, 1.5]}
    found = ranked.read(row)
    assert found == conversations.row(
        [Turn("", "Which?")], ["worst", "best", "good"], scores=[0.0, 2.0, 1.5]
    )


@pytest.mark.parametrize("prompt", ["Which?", [USER]])
def test_completions_may_be_messages(prompt: object) -> None:
    completions = [[{"role": "assistant", "content": text}] for text in "ab"]
    found = ranked.read({**GOOD, "prompt": prompt, "completions": completions})
    assert found == conversations.row([Turn("user", "Which?")], ["a", "b"], scores=[1.0, 0.0])


BAD: list[tuple[dict[str, object], str]] = [
    ({"scores": [1.0]}, "2 completions have 1 scores"),
    ({"scores": [1.0, float("nan")]}, "scores must be finite"),
    ({"scores": [1.0, float("inf")]}, "scores must be finite"),
    ({"scores": None}, "column 'scores' must be a list of numbers, but is null"),
    ({"scores": [1.0, "2"]}, "column 'scores' must be a list of numbers"),
    # They rank nothing: counted, as its reason says.
    ({"completions": ["a"], "scores": [1.0]}, "no_preference"),
    ({"completions": [], "scores": []}, "no_preference"),
    ({"completions": "ab"}, "column 'completions' must be a list"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_rows_that_do_not_rank_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranked.read(GOOD | changes)
