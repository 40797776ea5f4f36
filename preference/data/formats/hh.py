"""hh-rlhf's format: a row is two whole dialogues, which differ in the last answer.

A turn begins with a blank line and `Human:` or `Assistant:`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from preference.data.formats.columns import of_pair
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.formats.messages import shown
from preference.store.tables import RAW

SCHEMA: pa.Schema = RAW
NAMES: tuple[str, ...] = tuple(RAW.names)
COLUMNS = (*NAMES, "weight", "margin")
REASONS = (
    Unusable.PROMPTS_DIFFER,
    Unusable.EMPTY_PROMPT,
    Unusable.EMPTY_CHOSEN,
    Unusable.EMPTY_REJECTED,
    Unusable.NO_TOKENS,
)
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
# The first turn may stand at the beginning, since a prompt that no marker ended was stripped.
BEGINS = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
MARKS = {"user": HUMAN, "assistant": ASSISTANT}
MARKERS = (ASSISTANT, "\nAssistant:", "Assistant:")


class Pair(NamedTuple):
    prompt: str
    chosen: str
    rejected: str
    by_common_prefix: bool = False


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
    pair = Pair(chosen[:end].strip(), chosen[end:].strip(), rejected[end:].strip(), True)
    return _first_empty(pair) or pair


def row(source: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `SCHEMA` that a source's row gives.

    Raises:
        ValueError: a column is no text.
    """
    for name in NAMES:
        if not isinstance(source[name], str):
            raise ValueError(f"column {name!r} must be text, but is {shown(source[name])}")
        source[name].encode()
    return {name: source[name] for name in NAMES} | of_pair(source)


def read(values: Mapping[str, Any]) -> Example | Unusable:
    """The example that a row of `SCHEMA` gives, or the reason why there is none."""
    found = split(values["chosen"], values["rejected"])
    if isinstance(found, Unusable):
        return found
    example = Example(
        tuple(_turns(found.prompt)),
        (found.chosen, found.rejected),
        found.prompt,
        by_common_prefix=found.by_common_prefix,
    )
    return example.with_pair(values)


def text(turns: Sequence[Turn]) -> str:
    """The prompt that turns are in this format; who has no marker here stands without one."""
    said = "".join(f"{MARKS.get(turn.role, '')} {turn.content}" for turn in turns)
    return f"{said}{ASSISTANT}"


def _turns(prompt: str) -> Iterator[Turn]:
    """The turns of a prompt in which something is said."""
    begins = list(BEGINS.finditer(prompt))
    # What stands before the first marker is nobody's.
    starts = [("", 0), *((ROLES[found[1]], found.end()) for found in begins)]
    ends = [*(found.start() for found in begins), len(prompt)]
    for (role, start), end in zip(starts, ends, strict=True):
        if said := prompt[start:end].strip():
            yield Turn(role, said)


def first_turn(text: str) -> str:
    """What stands before the next turn that a model begins, its own or the other's."""
    return text.partition(HUMAN)[0].partition(ASSISTANT)[0]


def settled(text: str) -> str:
    """As much of an unfinished first turn as no later token changes, stripped of white space."""
    begun = [turn[:length] for turn in (HUMAN, ASSISTANT) for length in range(1, len(turn))]
    part = max((len(start) for start in begun if text.endswith(start)), default=0)
    # The tokenizer puts U+FFFD where the bytes of a character are not all there.
    return text[: len(text) - part].rstrip("\ufffd").strip()


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
