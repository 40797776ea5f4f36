"""Messages in the shapes that chat data have them."""

import json
from typing import Any

import pytest
from data_helpers import patient
from format_cases import assistant, gpt, human, user
from hypothesis import given
from hypothesis import strategies as st

from preference.data.formats import messages
from preference.data.formats.example import Turn, Unusable, UnusableError

ROLES = {
    "system": ["system", "developer"],
    "user": ["user", "human"],
    "assistant": ["assistant", "gpt", "model"],
    "tool": ["tool", "function", "observation"],
}


@pytest.mark.parametrize(("ours", "theirs"), [(a, b) for a, names in ROLES.items() for b in names])
@pytest.mark.parametrize(("role", "content"), messages.KEYS)
def test_each_name_of_a_role_is_known(ours: str, theirs: str, role: str, content: str) -> None:
    assert messages.turns([{role: theirs, content: "Hi"}]) == (Turn(ours, "Hi"),)


def test_one_message_is_a_list_of_one() -> None:
    assert messages.turns(gpt("Hi")) == (Turn("assistant", "Hi"),)
    assert messages.turns([]) == ()


def test_keys_that_are_null_are_not_there() -> None:
    said = {"role": None, "from": "human", "value": "Hi", "content": None, "tool_calls": None}
    assert messages.turns([said, assistant("Yo") | {"from": None, "images": []}]) == (
        Turn("user", "Hi"),
        Turn("assistant", "Yo"),
    )


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
@pytest.mark.parametrize("key", ["text", "value", "content"])
def test_parts_of_text_are_put_together(kind: str, key: str) -> None:
    parts = [{"type": kind, key: text, "image": None} for text in ("Hi", "\n there")]
    assert messages.turns([user("") | {"content": parts}]) == (Turn("user", "Hi\n there"),)


@pytest.mark.parametrize(
    "more",
    [
        {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "b"}]},
        {"tool_calls": [{"name": "find"}], "content": None},
        {"reasoning_content": "Hm."},
        {"images": ["a"]},
        {"role": "function_call"},
    ],
)
def test_what_is_more_than_text_gives_no_example(more: dict[str, Any]) -> None:
    with pytest.raises(UnusableError) as caught:
        messages.turns([user("a"), assistant("b") | more])
    assert caught.value.reason is Unusable.MORE_THAN_TEXT


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7, "expected text or messages, not 7"),
        (["a"], "message 0: expected a role and its content, not 'a'"),
        ([user("a"), None], "message 1: expected a role and its content, not null"),
        ([{}], r"message 0: no role \(it has nothing\)"),
        ([{"role": 1, "content": "a"}], "message 0: role 1 is none of system"),
        ([{"role": "User", "content": "a"}], "message 0: role 'User' is none of system"),
        ([{"from": "bing", "value": "a"}], "message 0: from 'bing' is none of system"),
        ([{"role": "user"}], "message 0: content must be text, but is null"),
        ([{"role": "user", "value": "a"}], "message 0: content must be text, but is null"),
        ([{"from": "gpt", "value": {}}], "message 0: value must be text, but is {}"),
        (
            [user("") | {"content": ["a"]}],
            "message 0: content: expected parts with a type, not 'a'",
        ),
        (
            [user("") | {"content": [{"type": "text", "text": "a", "value": "b"}]}],
            "a part of type text needs one text",
        ),
        ({"role": ["user"], "content": "a"}, "expected messages, not"),
        (
            {"role": ["user"], "content": ["a", "b"]},
            "as many of each key of its messages, not 1 role, 2 content",
        ),
    ],
)
def test_what_are_no_messages_says_where(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        messages.turns(value)


def test_a_list_for_each_key_is_as_good() -> None:
    columns = {"from": ["human", "gpt"], "value": ["a", "b"], "weight": None}
    assert messages.turns(columns) == (Turn("user", "a"), Turn("assistant", "b"))


said = st.lists(st.builds(user, st.text()) | st.builds(gpt, st.text()), min_size=1, max_size=3)


@patient
@given(said, st.sampled_from([None, 2]), st.booleans())
def test_any_messages_survive_json_in_text(
    value: list[dict[str, str]], indent: int | None, ascii_only: bool
) -> None:
    assert messages.parsed(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize("one", [human("a"), assistant("b"), {"content": "c", "role": "user"}])
def test_one_message_survives_json_in_text(one: dict[str, str]) -> None:
    assert messages.parsed(json.dumps(one)) == one
    assert messages.parsed(json.dumps([one])) == [one]


@patient
@given(st.text() | st.builds(json.dumps, st.recursive(st.text(), st.lists)))
def test_other_text_stays_text(text: str) -> None:
    assert messages.parsed(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '[{"value": 1}, {"value": 2}]',
        '[{"content": "a"}]',
        '{"role": "admin", "content": "rights"}',
        '[{"role": "user"}, 7]',
        '[{"value": 1',
        "[{'value': 1}]",
        "{'content': 1}",
    ],
)
def test_an_answer_that_is_code_stays_text(text: str) -> None:
    assert messages.parsed(text) == text


@pytest.mark.parametrize(
    "text", [str([user("a")]), str(gpt("a")), '[{"role": "user", "content": "a"}, {"ro']
)
def test_messages_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"spells messages, but not as JSON: .*json\.dumps"):
        messages.parsed(text)


@pytest.mark.parametrize(("value", "is_one"), [(1, True), (0.5, True), (True, False), ("1", False)])
def test_true_is_no_number(value: object, is_one: bool) -> None:
    assert messages.is_number(value) == is_one
