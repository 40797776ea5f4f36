"""Raw rows of every format but hh-rlhf's: a prompt turn by turn, and the responses to it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from preference.core.data_params import Rankings
from preference.data.formats.example import Example, Turn, Unusable
from preference.store.tables import CONVERSATIONS

SCHEMA: pa.Schema = CONVERSATIONS
REASONS = (
    Unusable.EMPTY_PROMPT,
    Unusable.EMPTY_RESPONSE,
    Unusable.PROMPTS_DIFFER,
    Unusable.MORE_THAN_TEXT,
    Unusable.SEVERAL_TURNS,
    Unusable.ROLE_ORDER,
    Unusable.NO_PREFERENCE,
)


def row(
    prompt: Sequence[Turn],
    responses: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    label: bool | None = None,
    weight: float | None = None,
) -> dict[str, Any]:
    """A row of `SCHEMA`; without scores and label, the first response is preferred to the second.

    Raises:
        ValueError: a text holds half of a surrogate pair, or a score is no number.
    """
    for text in (*(turn.content for turn in prompt), *responses):
        text.encode()
    if scores is not None and not all(map(math.isfinite, scores)):
        raise ValueError(f"scores must be finite, not {scores}")
    return {
        "prompt": [turn._asdict() for turn in prompt],
        "responses": list(responses),
        "scores": scores and list(map(float, scores)),
        "label": label,
        "weight": weight,
        "unusable": None,
    }


def unusable(reason: Unusable) -> dict[str, Any]:
    """A row of `SCHEMA` that gives no example, for that reason."""
    return {**row([], []), "unusable": reason.value}


def read(values: Mapping[str, Any], rankings: Rankings) -> Example | Unusable:
    """The example that a row of `SCHEMA` gives, or the reason why there is none.

    Raises:
        ValueError: it is no such row.
    """
    prompt = tuple(Turn(**turn) for turn in values["prompt"])
    responses = tuple(values["responses"])
    if reason := values["unusable"] or _fault(prompt, responses):
        return Unusable(reason)
    text = None if prompt[0].role else prompt[0].content
    example = Example(prompt if text is None else (Turn("user", text),), responses, text)
    if values["label"] is not None:
        return example._replace(labels=(values["label"],), weights=(values["weight"],))
    if values["scores"] is None:
        return example.with_pair(values)
    scores = values["scores"]
    if len(scores) != len(responses) or not all(map(math.isfinite, scores)):
        raise ValueError(f"{len(responses)} responses need as many finite scores, not {scores}")
    pairs = tuple(_ranked(scores, rankings))
    if rankings.margin == "scores":
        margins = tuple(scores[chosen] - scores[rejected] for chosen, rejected in pairs)
        example = example._replace(margins=margins)
    return example._replace(pairs=pairs) if pairs else Unusable.NO_PREFERENCE


def _fault(prompt: Sequence[Turn], responses: Sequence[str]) -> Unusable | None:
    if not any(turn.content.strip() for turn in prompt):
        return Unusable.EMPTY_PROMPT
    if not all(response.strip() for response in responses):
        return Unusable.EMPTY_RESPONSE
    return None if prompt[-1].role in ("user", "tool", "") else Unusable.ROLE_ORDER


def _ranked(scores: Sequence[float], rankings: Rankings) -> Iterator[tuple[int, int]]:
    """Pairs in which the one that scores higher, by more than the gap, is chosen."""
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    ends = [(order[0], order[-1])]
    for better, worse in combinations(order, 2) if rankings.pairs == "all" else ends:
        if scores[better] - scores[worse] > rankings.min_gap:
            yield better, worse
