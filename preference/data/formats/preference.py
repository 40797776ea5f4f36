"""Preferences: a prompt, a chosen and a rejected answer, as texts or as messages.

Without a prompt of its own, the prompt is the messages that both dialogues begin with. A weight
says how much the pair counts, a margin by how much the chosen reward is to be ahead.
"""

from collections.abc import Mapping
from typing import Any

from preference.data.formats import conversations, messages
from preference.data.formats.columns import of_pair
from preference.data.formats.example import Turn, Unusable, UnusableError

COLUMNS = ("prompt", "chosen", "rejected", "weight", "margin")


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `conversations.SCHEMA` that a source's row gives.

    Raises:
        UnusableError: it gives no example.
        ValueError: a column is of a wrong type, or the prompt is in none of the dialogues.
    """
    prompt, sides = row.get("prompt"), [row["chosen"], row["rejected"]]
    if isinstance(prompt, str) and all(isinstance(side, str) for side in sides):
        return conversations.row([Turn("", prompt)], sides) | of_pair(row)
    dialogues = [
        answered(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True)
    ]
    start = _common(*dialogues)
    if prompt is not None:
        asked = asking(prompt)
        if not start:
            start, dialogues = asked, [(*asked, *dialogue) for dialogue in dialogues]
        elif not _within(asked, start):
            raise ValueError(
                "prompt is not what both dialogues begin with; name the right column in "
                "data.columns, or set data.columns: {ignore: prompt}"
            )
    ends = [dialogue[len(start) :] for dialogue in dialogues]
    for end in sorted(ends, key=len):
        if len(end) > 1 and end[0].role != "assistant":
            raise UnusableError(Unusable.PROMPTS_DIFFER)
        answer(end)
    return conversations.row(start, list(map(answer, ends))) | of_pair(row)


def asking(prompt: object) -> tuple[Turn, ...]:
    """A prompt as turns: a text is the user's."""
    if isinstance(prompt, str):
        return (Turn("user", prompt),)
    return named(prompt, "prompt")


def answered(side: object, name: str) -> tuple[Turn, ...]:
    """A dialogue, or an answer alone, as turns: a text is the assistant's."""
    if isinstance(side, str):
        return (Turn("assistant", side),)
    return named(side, name)


def answer(turns: tuple[Turn, ...]) -> str:
    """The one answer that turns are.

    Raises:
        UnusableError: they are another number of turns, or not the assistant's.
    """
    if not turns:
        raise UnusableError(Unusable.EMPTY_RESPONSE)
    if turns[0].role != "assistant":
        raise UnusableError(Unusable.ROLE_ORDER)
    if len(turns) > 1:
        raise UnusableError(Unusable.SEVERAL_TURNS)
    return turns[0].content


def named(value: object, name: str) -> tuple[Turn, ...]:
    """The turns of the messages in a column; an error names it."""
    try:
        return messages.turns(value)
    except UnusableError:
        raise
    except ValueError as error:
        raise ValueError(f"column {name!r}: {error}") from None


def _within(asked: tuple[Turn, ...], start: tuple[Turn, ...]) -> bool:
    """Whether a prompt is all that two dialogues begin with, its end, or its first question."""
    system = next((place for place, turn in enumerate(start) if turn.role != "system"), len(start))
    said, wanted = (
        [(turn.role, turn.content.strip()) for turn in turns] for turns in (start, asked)
    )
    size = len(wanted)
    return wanted in (said[:size], said[system : system + size], said[len(said) - size :])


def _common(one: tuple[Turn, ...], other: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """What both begin with; of the same dialogue twice all but the last turn."""
    same = 0
    for a, b in zip(one[:-1], other[:-1], strict=False):
        if a != b:
            break
        same += 1
    return one[:same]
