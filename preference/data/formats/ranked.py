"""Rankings: a prompt, completions, and a score of each."""

from collections.abc import Mapping
from typing import Any

from preference.data.formats import conversations
from preference.data.formats.example import Turn, Unusable, UnusableError
from preference.data.formats.messages import is_number, shown
from preference.data.formats.preference import answer, answered, asking

COLUMNS = ("prompt", "completions", "scores")


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `conversations.SCHEMA` that a source's row gives.

    Raises:
        UnusableError: it gives no example.
        ValueError: a column is of a wrong type, or there are not as many scores as completions.
    """
    prompt, completions, scores = (row[name] for name in COLUMNS)
    if not isinstance(completions, list):
        raise ValueError(f"column 'completions' must be a list, but is {shown(completions)}")
    if not isinstance(scores, list) or not all(map(is_number, scores)):
        raise ValueError(f"column 'scores' must be a list of numbers, but is {shown(scores)}")
    if len(scores) != len(completions):
        raise ValueError(f"{len(completions)} completions have {len(scores)} scores")
    if len(completions) < 2:
        raise UnusableError(Unusable.NO_PREFERENCE)
    if isinstance(prompt, str) and all(isinstance(text, str) for text in completions):
        return conversations.row([Turn("", prompt)], completions, scores=scores)
    answers = [answer(answered(completion, "completions")) for completion in completions]
    return conversations.row(asking(prompt), answers, scores=scores)
