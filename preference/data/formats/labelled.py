"""Labelled single responses: a prompt, a completion and its label, or messages that end with it.

A weight says how much the response counts, and may be null.
"""

from collections.abc import Mapping
from typing import Any

from preference.data.formats import conversations, messages
from preference.data.formats.columns import weight
from preference.data.formats.example import Turn
from preference.data.formats.preference import answer, answered, asking, named

COLUMNS = ("prompt", "completion", "label", "weight", "messages")


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `conversations.SCHEMA` that a source's row gives.

    Raises:
        UnusableError: it gives no example.
        ValueError: a column is of a wrong type.
    """
    label = row["label"]
    if label not in (True, False):
        raise ValueError(f"column 'label' must be true or false, but is {messages.shown(label)}")
    counted = weight(row)
    prompt, response = _asked(*(row.get(name) for name in ("prompt", "completion", "messages")))
    return conversations.row(prompt, [response], label=bool(label), weight=counted)


def _asked(prompt: object, completion: object, whole: object) -> tuple[tuple[Turn, ...], str]:
    """The prompt, and the response to it."""
    if whole is not None:
        if prompt is not None or completion is not None:
            raise ValueError(
                "messages beside a prompt or completion would be read in two ways; leave out one, "
                "for instance by data.columns: {ignore: [prompt, completion]}"
            )
        said = named(whole, "messages")
        return said[:-1], answer(said[-1:])
    if isinstance(prompt, str) and isinstance(completion, str):
        return (Turn("", prompt),), completion
    return asking(prompt), answer(answered(completion, "completion"))
