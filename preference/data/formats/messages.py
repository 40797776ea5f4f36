"""Messages as chat data have them: who speaks, and what is said, as text or in typed parts."""

from collections.abc import Mapping
from typing import Any

from preference.data.formats.example import Turn, Unusable, UnusableError

# Names of who speaks and of what is said: as templates have them, and as ShareGPT.
KEYS = (("role", "content"), ("from", "value"))
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
# What a message may hold that no template here would show.
BESIDE = ("tool_calls", "function_call", "reasoning_content", "thinking", "images", "audio")


def turns(value: object) -> tuple[Turn, ...]:
    """The turns of a list of messages; one message is a list of one.

    Raises:
        UnusableError: a message holds more than text.
        ValueError: it is no list of messages; says where.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"expected messages, not {shown(value)}")
    return tuple(_turn(message, f"message {place}") for place, message in enumerate(value))


def _turn(message: object, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where}: expected a role and its content, not {shown(message)}")
    keys = next((keys for keys in KEYS if keys[0] in message), None)
    if keys is None:
        raise ValueError(f"{where}: no role (it has {', '.join(map(str, message)) or 'nothing'})")
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
    if part["type"] != "text":
        raise UnusableError(Unusable.MORE_THAN_TEXT)
    found = [part[key] for key in ("text", "value", "content") if part.get(key) is not None]
    if len(found) != 1 or not isinstance(found[0], str):
        raise ValueError(f"{where}: a part of type text needs one text, not {shown(part)}")
    return found[0]


def shown(value: object) -> str:
    """A value in a message: short, and as JSON has it where that differs."""
    return "null" if value is None else repr(value)[:60]
