"""Messages as chat data have them: who speaks, and what is said, as text or in typed parts."""

import json
from collections.abc import Mapping
from typing import Any

from preference.data.formats.example import Turn, Unusable, UnusableError

# Names of who speaks and of what is said: as templates have them, and as ShareGPT.
KEYS = (("role", "content"), ("from", "value"))
OPENINGS = tuple(
    f"{start}{sign}{key}{sign}:"
    for start in ("[{", "{")
    for sign in "\"'"
    for keys in KEYS
    for key in keys
)
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "call",
}
# Types of parts that are text.
TEXTS = ("text", "input_text", "output_text")
# What a message may hold that no template here would show.
BESIDE = ("tool_calls", "function_call", "reasoning_content", "thinking", "images", "audio")


def turns(value: object) -> tuple[Turn, ...]:
    """The turns of a list of messages; one message is a list of one.

    A key that is null counts as one that is not there: Arrow gives all messages the same keys.

    Raises:
        UnusableError: a message holds more than text.
        ValueError: it is no list of messages; says where.
    """
    return tuple(_turn(one, f"message {place}") for place, one in enumerate(listed(value)))


def listed(value: object) -> list[Any]:
    """What should be messages as a list: one message, or a list for each key, is made one."""
    if isinstance(value, Mapping):
        whole = any(isinstance(value.get(key), list) for key, _ in KEYS)
        return _rows(value) if whole else [value]
    if not isinstance(value, list):
        raise ValueError(f"expected text or messages, not {shown(value)}")
    return value


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages that are stored as a list for each key."""
    given = {key: values for key, values in columns.items() if values is not None}
    if not all(isinstance(values, list) for values in given.values()):
        raise ValueError(f"expected messages, not {shown(columns)}")
    if len(set(map(len, given.values()))) > 1:
        sizes = ", ".join(f"{len(values)} {key}" for key, values in given.items())
        raise ValueError(f"expected as many of each key of its messages, not {sizes}")
    return [dict(zip(given, message, strict=True)) for message in zip(*given.values(), strict=True)]


def parsed(text: str) -> Any:
    """The messages, or the one, that a text spells as JSON, as in CSV; else the text.

    Raises:
        ValueError: it spells messages, but not as JSON.
    """
    if "{" not in text[:40]:
        return text
    start = "".join(text[:80].split())
    if not start.startswith(OPENINGS):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if not any(all(key in text for key in keys) for keys in KEYS):
            return text
        raise ValueError(
            f"spells messages, but not as JSON: {shown(text)}; write the column with json.dumps, "
            "or the data as JSON lines or Parquet"
        ) from None
    # An answer may be JSON, too.
    if isinstance(found, dict):
        return found if any(found.get(role) in ROLES for role, _ in KEYS) else text
    said = (
        isinstance(one, dict) and any(set(keys) <= one.keys() for keys in KEYS) for one in found
    )
    return found if all(said) else text


def _turn(message: object, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where}: expected a role and its content, not {shown(message)}")
    keys = next((keys for keys in KEYS if message.get(keys[0]) is not None), None)
    if keys is None:
        there = ", ".join(key for key, value in message.items() if value is not None)
        raise ValueError(f"{where}: no role (it has {there or 'nothing'})")
    role, content = (message.get(key) for key in keys)
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{where}: {keys[0]} {shown(role)} is none of {', '.join(ROLES)}")
    if ROLES[role] == "call" or any(message.get(key) for key in BESIDE):
        raise UnusableError(Unusable.MORE_THAN_TEXT)
    return Turn(ROLES[role], _text(content, f"{where}: {keys[1]}"))


def _text(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(f"{where} must be text, but is {shown(content)}")
    return "".join(_part(part, where) for part in content)


def _part(part: Any, where: str) -> str:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise ValueError(f"{where}: expected parts with a type, not {shown(part)}")
    if part["type"] not in TEXTS:
        raise UnusableError(Unusable.MORE_THAN_TEXT)
    found = [part[key] for key in ("text", "value", "content") if part.get(key) is not None]
    if len(found) != 1 or not isinstance(found[0], str):
        raise ValueError(f"{where}: a part of type text needs one text, not {shown(part)}")
    return found[0]


def shown(value: object) -> str:
    """A value in a message: short, and as JSON has it where that differs."""
    return "null" if value is None else repr(value)[:60]


def is_number(value: object) -> bool:
    """Whether a value is a number, which in Python true and false are, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)
