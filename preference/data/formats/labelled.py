"""Labelled single responses: a prompt, a completion and its label, or messages that end with it.

A weight says how much the response counts, and may be null.
"""

from collections.abc import Mapping
from typing import Any

from preference.data.formats import conversations, messages
from preference.data.formats.example import Turn
from preference.data.formats.preference import answer, answered, asking

COLUMNS = ("prompt", "completion", "label", "weight", "messages")


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `conversations.SCHEMA` that a source's row gives.

    Raises:
        UnusableError: it gives no example.
        ValueError: a column is of a wrong type.
    """
    label, weight = row["label"], row.get("weight")
    if label not in (True, False):
        raise ValueError(f"column 'label' must be true or false, but is {messages.shown(label)}")
    if weight is not None and not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
        raise ValueError(f"column 'weight' must be 0 or more, but is {messages.shown(weight)}")
    if "messages" in row:
        whole = messages.turns(row["messages"])
        prompt, response = whole[:-1], answer(whole[-1:])
    elif isinstance(row["prompt"], str) and isinstance(row["completion"], str):
        prompt, response = (Turn("", row["prompt"]),), row["completion"]
    else:
        prompt = asking(row["prompt"])
        response = answer(answered(row["completion"], "completion"))
    return conversations.row(prompt, [response], label=bool(label), weight=weight)
