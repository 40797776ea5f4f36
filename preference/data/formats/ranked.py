"""Rankings: a prompt, completions, and a score of each."""

from collections.abc import Mapping
from typing import Any

from preference.data.formats import conversations
from preference.data.formats.example import Turn
from preference.data.formats.messages import shown
from preference.data.formats.preference import answer, answered, asking

COLUMNS = ("prompt", "completions", "scores")


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `conversations.SCHEMA` that a source's row gives.

    Raises:
        UnusableError: it gives no example.
        ValueError: a column is of a wrong type, or there are not as many scores as completions.
    """
    prompt, completions, scores = (row[name] for name in COLUMNS)
    if not isinstance(completions, list) or len(completions) < 2:
        raise ValueError(
            f"column 'completions' must be a list of two or more: {shown(completions)}"
        )
    if not isinstance(scores, list) or not all(isinstance(one, int | float) for one in scores):
        raise ValueError(f"column 'scores' must be a list of numbers, but is {shown(scores)}")
    if len(scores) != len(completions):
        raise ValueError(f"{len(completions)} completions have {len(scores)} scores")
    if isinstance(prompt, str) and all(isinstance(text, str) for text in completions):
        return conversations.row([Turn("", prompt)], completions, scores=scores)
    answers = [answer(answered(completion, "completions")) for completion in completions]
    return conversations.row(asking(prompt), answers, scores=scores)
