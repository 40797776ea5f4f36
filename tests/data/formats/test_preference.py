"""Preferences as texts and as messages; malformed rows are in test_formats_of_files."""

from typing import Any

import pytest
from format_cases import SYSTEM, assistant, user

from preference.data.formats import preference
from preference.data.formats.example import Unusable, UnusableError

Messages = list[dict[str, str]]
WHERE, HERE, SURE = user("Where?"), assistant("Here."), user("Sure?")
YES, NO = assistant("Yes."), assistant("No.")


def said(prompt: Messages) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in prompt]


@pytest.mark.parametrize(
    ("prompt", "before", "expected"),
    [
        # The prompt apart from the answers.
        ([WHERE], [], [WHERE]),
        ("Where?", [], [WHERE]),
        (WHERE, [], [WHERE]),
        ([SYSTEM, WHERE, HERE, SURE], [], [SYSTEM, WHERE, HERE, SURE]),
        # Within both dialogues.
        (None, [WHERE], [WHERE]),
        (None, [SYSTEM, WHERE, HERE, SURE], [SYSTEM, WHERE, HERE, SURE]),
        # Both: all of it, its end, or its first question.
        ([WHERE], [WHERE], [WHERE]),
        ([WHERE, HERE, SURE], [WHERE, HERE, SURE], [WHERE, HERE, SURE]),
        ("Where?", [SYSTEM, WHERE], [SYSTEM, WHERE]),
        ("Where?", [SYSTEM, WHERE, HERE, SURE], [SYSTEM, WHERE, HERE, SURE]),
        ("Sure?\n", [WHERE, HERE, SURE], [WHERE, HERE, SURE]),
        ([SYSTEM], [SYSTEM, WHERE], [SYSTEM, WHERE]),
    ],
)
def test_the_prompt_is_found(prompt: Any, before: Messages, expected: Messages) -> None:
    found = preference.read({"prompt": prompt, "chosen": [*before, YES], "rejected": [*before, NO]})
    assert found["prompt"] == expected
    assert found["responses"] == ["Yes.", "No."]
    assert found["scores"] is found["label"] is found["weight"] is found["unusable"] is None


@pytest.mark.parametrize("prompt", ["When?", "Here.", [HERE], [SYSTEM, WHERE], [WHERE, SURE]])
def test_another_prompt_than_the_dialogues_is_refused(prompt: Any) -> None:
    row = {
        "prompt": prompt,
        "chosen": [WHERE, HERE, SURE, YES],
        "rejected": [WHERE, HERE, SURE, NO],
    }
    with pytest.raises(ValueError, match="prompt is not what both dialogues begin with"):
        preference.read(row)


def test_of_the_same_dialogue_twice_the_last_turn_is_the_answer() -> None:
    found = preference.read({"chosen": [WHERE, YES], "rejected": [WHERE, YES]})
    assert (found["prompt"], found["responses"]) == ([WHERE], ["Yes.", "Yes."])


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ([WHERE, YES], [user("When?"), NO], Unusable.PROMPTS_DIFFER),
        ([WHERE, YES], [SYSTEM, WHERE, NO], Unusable.PROMPTS_DIFFER),
        ([WHERE], [WHERE, NO], Unusable.ROLE_ORDER),
        ([WHERE, YES], [WHERE, SYSTEM], Unusable.ROLE_ORDER),
        ([], [WHERE, NO], Unusable.EMPTY_RESPONSE),
        ([WHERE, YES, SURE, YES], [WHERE, YES, SURE], Unusable.ROLE_ORDER),
        ([WHERE, YES, SURE, YES], [WHERE, NO], Unusable.SEVERAL_TURNS),
        ([WHERE, YES, SURE, YES], [WHERE, NO, SURE, NO], Unusable.SEVERAL_TURNS),
    ],
)
def test_why_dialogues_give_no_pair(chosen: Messages, rejected: Messages, reason: Unusable) -> None:
    for sides in ((chosen, rejected), (rejected, chosen)):
        with pytest.raises(UnusableError) as caught:
            preference.read(dict(zip(("chosen", "rejected"), sides, strict=True)))
        assert caught.value.reason is reason


def test_an_error_names_the_column() -> None:
    for name in ("prompt", "chosen", "rejected"):
        row = {"prompt": [WHERE], "chosen": [YES], "rejected": [NO], name: [{"content": "a"}]}
        with pytest.raises(ValueError, match=rf"column '{name}': message 0: no role"):
            preference.read(row)
