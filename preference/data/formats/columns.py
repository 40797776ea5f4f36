"""The columns of a source: what their names say, and what they hold."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from preference.core.data_params import Columns
from preference.data.formats import messages

# Other names of columns that can mean nothing else.
ALIASES = {
    "chosen_messages": "chosen",
    "rejected_messages": "rejected",
    "responses": "completions",
    "loss_weight": "weight",
}
# Of which all rows are text, or all are messages.
SAID = ("prompt", "chosen", "rejected", "completion", "completions", "messages")
# What tables without types have as text, such as CSV.
TYPED = ("label", "weight", "margin", "scores", "completions")
LARGEST = 3e38  # in single precision, as weights and margins are kept
# What columns are called that carry meaning: left out, the data would be read as other data.
PROMPTS = (
    *("prompt", "instruction", "instructions", "input", "inputs", "question", "query", "context"),
    *("system", "system_prompt", "history", "conversation", "conversations", "messages"),
    *("dialogue", "dialog", "post", "document", "tools"),
)
LABELS = ("label", "labels", "preference", "winner", "choice", "better")
SCORES = ("score", "rating", "margin", "reward", "weight")
PROMPT = "a prompt or a part of one"


class Names:
    """Which of a source's columns are which, by the names that formats have.

    Attributes:
        given: the source's columns by ours, as params say.
        taken: all that params name.
    """

    def __init__(self, columns: Columns) -> None:
        self.given, self.taken = columns.given, columns.taken

    def of(self, source: Collection[str]) -> dict[str, list[str]]:
        """The source's columns by our names; those without one keep their own."""
        found = {name: [name] for name in source if name not in self.taken}
        # A later row may lack some of those to be joined.
        there = {n: [one for one in listed if one in source] for n, listed in self.given.items()}
        found |= {name: columns for name, columns in there.items() if columns}
        alone = "label" in found and "completion" not in found
        whole = {"conversations": "messages" if alone else "prompt"}
        for other, name in (ALIASES | whole).items():
            if other in found and name not in found:
                found[name] = found.pop(other)
        return found


def value(name: str, columns: list[str], source: Mapping[str, Any]) -> Any:
    """What a row has in the columns that one of ours is made of.

    Raises:
        ValueError: those to be joined are no texts, or messages are spelt as no JSON.
    """
    found = source[columns[0]]
    if len(columns) > 1:
        found = _joined(name, [source[column] for column in columns])
    if not isinstance(found, str):
        return found
    return _typed(found) if name in TYPED else messages.parsed(found)


def _joined(name: str, values: list[Any]) -> Any:
    *before, last = values
    if not all(isinstance(one, str | None) for one in before):
        raise ValueError(f"data.columns: {name}: only texts can be joined, and put before messages")
    text = "\n\n".join(filter(None, before))
    if isinstance(last, str | None):
        return "\n\n".join(filter(None, values))
    # What is said before a dialogue, beside it, is the system's.
    return ([{"role": "system", "content": text}] if text else []) + messages.listed(last)


def weight(row: Mapping[str, Any]) -> float | None:
    """How much a row counts; None where it does not say.

    Raises:
        ValueError: its weight is no number, or negative.
    """
    found = row.get("weight")
    if found is not None and not (messages.is_number(found) and 0 <= found < LARGEST):
        raise ValueError(f"column 'weight' must be 0 or more, but is {messages.shown(found)}")
    return found


def of_pair(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row says of its pair, as `tables.RAW_OF_PAIRS` has it: weight and margin, if any.

    Raises:
        ValueError: one of these is no such number.
    """
    margin = row.get("margin")
    if margin is not None and not (messages.is_number(margin) and abs(margin) < LARGEST):
        raise ValueError(f"column 'margin' must be a number, but is {messages.shown(margin)}")
    said = {"pair_weight": weight(row), "margin": margin}
    return {name: value for name, value in said.items() if value is not None}


class Kinds:
    """Whether a column is text or messages, which all rows of a source agree on."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def require_same(self, row: Mapping[str, Any]) -> None:
        """Raise ValueError where a column is another than in the rows before."""
        for name, value in row.items():
            if name in SAID and (kind := _kind(value)):
                before = self._found.setdefault(name, kind)
                if kind != before:
                    raise ValueError(f"column {name!r} is {kind} here, and {before} in rows before")


def _kind(value: object) -> str:
    """`text` or `messages`; empty where that is not to be seen."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return _kind(value[0]) if value else ""
    return "messages" if isinstance(value, Mapping) else ""


def _typed(text: str) -> object:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text or "null")
    except (ValueError, RecursionError):
        return text


def meaning(name: str) -> str:
    """What a column looks like by its name; empty where it looks like nothing."""
    word = name.lower()
    if word in PROMPTS:
        return PROMPT
    if word in LABELS:
        return "a label"
    parts = word.replace("-", "_").split("_")
    return "a score" if any(part.removesuffix("s") in SCORES for part in parts) else ""


def missing(columns: Collection[str], row: Collection[str]) -> str:
    """That a row lacks some columns, and which it has."""
    word = "column" if len(columns) == 1 else "columns"
    return f"no {word} {', '.join(map(repr, columns))} (it has {', '.join(row) or 'none'})"
