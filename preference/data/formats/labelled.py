"""Labelled single responses, as TRL has them: a row is a prompt, a completion and its label.

A weight says how much the response counts, and may be null.
"""

import pyarrow as pa

from preference.data.formats.example import Example, Turn, Unusable

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("label", pa.bool_()),
        ("weight", pa.float32()),
    ]
)
REASONS = (Unusable.EMPTY_PROMPT, Unusable.EMPTY_RESPONSE, Unusable.NO_TOKENS)


def read(prompt: str, completion: str, label: bool, weight: float | None) -> Example | Unusable:
    """The example that a row of `SCHEMA` gives, or the reason why there is none."""
    if not prompt.strip():
        return Unusable.EMPTY_PROMPT
    if not completion.strip():
        return Unusable.EMPTY_RESPONSE
    turns = (Turn("user", 0, len(prompt)),)
    return Example(prompt, (completion,), turns, labels=(label,), weights=(weight,))
