"""From the two dialogues of a row to prompt, chosen response and rejected response."""

from enum import StrEnum
from typing import NamedTuple

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
MARKERS = (ASSISTANT, "\nAssistant:", "Assistant:")


class Pair(NamedTuple):
    prompt: str
    chosen: str
    rejected: str


class Unusable(StrEnum):
    """Why a row gives no pair."""

    PROMPTS_DIFFER = "prompts_differ"
    EMPTY_PROMPT = "empty_prompt"
    EMPTY_CHOSEN = "empty_chosen"
    EMPTY_REJECTED = "empty_rejected"
    NO_TOKENS = "no_tokens"


def split(chosen: str, rejected: str) -> Pair | Unusable:
    """Split two dialogues that answer the same prompt.

    The prompt ends with the last marker of the assistant's turn, if that stands at the same
    character index in both texts and leaves three non-empty parts; markers are tried from the
    strictest to the loosest. Without one, the prompt is the longest common prefix. Responses are
    stripped of white space; the prompt keeps its own where a marker ends it.

    Args:
        chosen: the whole dialogue that ends with the preferred response.
        rejected: the whole dialogue that ends with the other one.

    Returns:
        The pair, or the reason why there is none.
    """
    for marker in MARKERS:
        start = chosen.rfind(marker)
        if start < 0 or start != rejected.rfind(marker):
            continue
        end = start + len(marker)
        if chosen[:end] != rejected[:end]:
            return Unusable.PROMPTS_DIFFER
        pair = Pair(chosen[:end], chosen[end:].strip(), rejected[end:].strip())
        if _first_empty(pair) is None:
            return pair
    end = _common(chosen, rejected)
    pair = Pair(chosen[:end].strip(), chosen[end:].strip(), rejected[end:].strip())
    return _first_empty(pair) or pair


def questions(prompt: str) -> list[str]:
    """What the human said in a prompt, turn by turn, in one line each."""
    # A prompt that no marker ended was stripped.
    turns = f"\n\n{prompt.lstrip()}".split(HUMAN)[1:]
    return [" ".join(turn.partition(ASSISTANT)[0].split()) for turn in turns]


def _common(first: str, second: str) -> int:
    """Length of the longest common prefix, in characters."""
    same = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(same) if a != b), min(len(first), len(second)))


def _first_empty(pair: Pair) -> Unusable | None:
    if not pair.prompt.strip():
        return Unusable.EMPTY_PROMPT
    if not pair.chosen:
        return Unusable.EMPTY_CHOSEN
    if not pair.rejected:
        return Unusable.EMPTY_REJECTED
    return None
