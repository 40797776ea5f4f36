"""Rankings: a row is a prompt, completions, and a score of each."""

import math
from itertools import combinations

import pyarrow as pa

from preference.data.formats.example import Example, Turn, Unusable

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("completions", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
    ]
)
REASONS = (
    Unusable.EMPTY_PROMPT,
    Unusable.EMPTY_RESPONSE,
    Unusable.NO_PREFERENCE,
    Unusable.NO_TOKENS,
)


def read(prompt: str, completions: list[str], scores: list[float]) -> Example | Unusable:
    """The example that a row of `SCHEMA` gives, or the reason why there is none.

    Every two completions with different scores are a pair: the one that scores higher is chosen.
    """
    if not prompt.strip():
        return Unusable.EMPTY_PROMPT
    if not all(completion.strip() for completion in completions):
        return Unusable.EMPTY_RESPONSE
    if len(scores) != len(completions) or not all(map(math.isfinite, scores)):
        raise ValueError(f"{len(completions)} completions need as many finite scores, not {scores}")
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    pairs = tuple((a, b) for a, b in combinations(order, 2) if scores[a] > scores[b])
    if not pairs:
        return Unusable.NO_PREFERENCE
    return Example(prompt, tuple(completions), (Turn("user", 0, len(prompt)),), pairs)
