"""Messages as chat data have them."""

import pytest

from preference.data.formats import messages
from preference.data.formats.example import Turn, Unusable, UnusableError


def test_roles_and_contents_are_turns() -> None:
    said = [
        {"role": "developer", "content": "Be brief."},
        {"from": "human", "value": "Why?"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "So"}, {"type": "text", "text": "."}],
        },
        {"role": "tool", "content": "", "tool_calls": None},
    ]
    assert messages.turns(said) == (
        Turn("system", "Be brief."),
        Turn("user", "Why?"),
        Turn("assistant", "So."),
        Turn("tool", ""),
    )
    assert messages.turns(said[1]) == (Turn("user", "Why?"),)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "", "tool_calls": [{"name": "search"}]},
        {"from": "function_call", "value": "search()"},
        {"role": "user", "content": [{"type": "image", "image": "x.png"}]},
    ],
)
def test_more_than_text_is_unusable(message: object) -> None:
    with pytest.raises(UnusableError) as caught:
        messages.turns([{"role": "user", "content": "See?"}, message])
    assert caught.value.reason is Unusable.MORE_THAN_TEXT


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "expected messages, not null"),
        ("Why?", "expected messages, not 'Why"),
        (["Why?"], "message 0: expected a role and its content, not 'Why"),
        ([{"content": "a"}], r"message 0: no role \(it has content\)"),
        ([{}], r"message 0: no role \(it has nothing\)"),
        ([{"role": "bot", "content": "a"}], "message 0: role 'bot' is none of system, "),
        ([{"role": "user"}], "message 0: content must be text, but is null"),
        ([{"from": "gpt", "value": 7}], "message 0: value must be text, but is 7"),
    ],
)
def test_what_is_no_message_is_refused_by_its_place(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        messages.turns(value)
