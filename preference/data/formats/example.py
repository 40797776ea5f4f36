"""What every format makes of a row: a prompt, responses to it, and which of them are preferred."""

from enum import StrEnum
from typing import NamedTuple


class Turn(NamedTuple):
    """Who speaks in a prompt, and which characters of its text are what is said."""

    role: str
    start: int
    end: int


class Example(NamedTuple):
    """One row.

    Attributes:
        pairs: chosen and rejected, as places among the responses.
        labels: whether each response is desirable; None where the row does not say.
        weights: how much each counts where responses are trained on one by one.
    """

    prompt: str
    responses: tuple[str, ...]
    turns: tuple[Turn, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    labels: tuple[bool | None, ...] = ()
    weights: tuple[float | None, ...] = ()


class Unusable(StrEnum):
    """Why a row gives no example."""

    PROMPTS_DIFFER = "prompts_differ"
    EMPTY_PROMPT = "empty_prompt"
    EMPTY_CHOSEN = "empty_chosen"
    EMPTY_REJECTED = "empty_rejected"
    EMPTY_RESPONSE = "empty_response"
    NO_PREFERENCE = "no_preference"
    NO_TOKENS = "no_tokens"
