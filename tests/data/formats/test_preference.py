"""Preferences with a prompt of their own, or one that both dialogues begin with."""

from typing import Any

import pytest

from preference.data.formats import conversations, preference
from preference.data.formats.example import Turn, Unusable, UnusableError


def say(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


ASKED = ("user", "Why?")
YES, NO = say(("assistant", "Yes.")), say(("assistant", "No."))
EXPECTED = conversations.row([Turn(*ASKED)], ["Yes.", "No."])


def test_texts_stay_texts() -> None:
    found = preference.read({"prompt": "Why?", "chosen": "Yes.", "rejected": "No."})
    assert found == conversations.row([Turn("", "Why?")], ["Yes.", "No."])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": say(ASKED), "chosen": YES, "rejected": NO},
        {"prompt": "Why?", "chosen": YES, "rejected": NO},
        {"prompt": say(ASKED), "chosen": "Yes.", "rejected": "No."},
        {"chosen": say(ASKED) + YES, "rejected": say(ASKED) + NO},
        {"prompt": "Why?", "chosen": say(ASKED) + YES, "rejected": say(ASKED) + NO},
        {"prompt": None, "chosen": say(ASKED) + YES, "rejected": say(ASKED) + NO},
    ],
)
def test_each_layout_gives_the_same_row(row: dict[str, Any]) -> None:
    assert preference.read(row) == EXPECTED


def test_the_prompt_of_many_turns_is_what_both_begin_with() -> None:
    start = say(("system", "Be brief."), ASKED, ("assistant", "So."), ("user", "And?"))
    found = preference.read({"chosen": start + YES, "rejected": start + YES})
    turns = [Turn(turn["role"], turn["content"]) for turn in start]
    assert found == conversations.row(turns, ["Yes.", "Yes."])


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (say(ASKED) + YES, say(("user", "Who?")) + NO, Unusable.PROMPTS_DIFFER),
        (say(ASKED) + YES + say(ASKED) + NO, say(ASKED) + NO, Unusable.SEVERAL_TURNS),
        (say(ASKED) + YES, [], Unusable.PROMPTS_DIFFER),
    ],
)
def test_an_unusable_row_has_a_reason(
    chosen: list[Any], rejected: list[Any], reason: Unusable
) -> None:
    with pytest.raises(UnusableError) as caught:
        preference.read({"chosen": chosen, "rejected": rejected})
    assert caught.value.reason is reason


def test_a_prompt_that_is_in_no_dialogue_is_refused() -> None:
    row = {"prompt": "Who?", "chosen": say(ASKED) + YES, "rejected": say(ASKED) + NO}
    with pytest.raises(ValueError, match="prompt is not what both dialogues begin with"):
        preference.read(row)


def test_a_column_that_is_no_dialogue_is_named() -> None:
    with pytest.raises(ValueError, match="column 'rejected': expected messages, not 7"):
        preference.read({"chosen": YES, "rejected": 7})
