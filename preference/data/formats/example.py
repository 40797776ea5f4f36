"""What every format makes of a row: a prompt, responses to it, and which of them are preferred."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """What somebody says: `system`, `user`, `assistant`, `tool`, or nobody (an empty role)."""

    role: str
    content: str


class Example(NamedTuple):
    """One row.

    Attributes:
        turns: the prompt, turn by turn.
        responses: the answers to it.
        text: the prompt as one text, where the data lay it out themselves; else None.
        pairs: chosen and rejected, as places among the responses.
        labels: whether each response is desirable; None where the row does not say.
        weights: how much each counts where responses are trained on one by one.
        pair_weights: how much each pair counts; nothing where the row does not say.
        margins: by how much the chosen reward of each pair is to be ahead; likewise.
        source: title of the one of several that it comes from.
        by_common_prefix: that the prompt is a guess: what two texts begin with alike.
    """

    turns: tuple[Turn, ...]
    responses: tuple[str, ...]
    text: str | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    labels: tuple[bool | None, ...] = ()
    weights: tuple[float | None, ...] = ()
    by_common_prefix: bool = False
    source: str | None = None
    pair_weights: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()

    def with_pair(self, row: Mapping[str, Any]) -> "Example":
        """Its first response preferred to the second, with weight and margin of a raw row."""
        weight, margin = (
            () if row.get(name) is None else (row[name],) for name in ("pair_weight", "margin")
        )
        return self._replace(pairs=((0, 1),), pair_weights=weight, margins=margin)

    @property
    def prompt(self) -> str:
        """The prompt as a text that tells it from any other."""
        return self.text if self.text is not None else "\n\n".join(map("\n".join, self.turns))

    @property
    def dialogues(self) -> list[str]:
        """The prompt with each response, whole: it may be told in several ways where it ends."""
        return [self.prompt + response for response in self.responses]


class Unusable(StrEnum):
    """Why a row gives no example."""

    PROMPTS_DIFFER = "prompts_differ"
    EMPTY_PROMPT = "empty_prompt"
    EMPTY_CHOSEN = "empty_chosen"
    EMPTY_REJECTED = "empty_rejected"
    EMPTY_RESPONSE = "empty_response"
    NO_PREFERENCE = "no_preference"
    # A turn holds images, calls of tools or the like beside its text.
    MORE_THAN_TEXT = "more_than_text"
    # Answers of several turns: what of them is to be learned could be read in two ways.
    SEVERAL_TURNS = "several_turns"
    # The prompt does not end where an answer follows.
    ROLE_ORDER = "role_order"
    REFUSED_BY_TEMPLATE = "refused_by_template"
    TOO_LONG = "too_long"
    # A training row of which a dialogue stands in the test data.
    IN_TEST = "in_test"
    # One of which a dialogue is nearly one of the test data.
    NEAR_TEST = "near_test"
    NO_TOKENS = "no_tokens"


class UnusableError(ValueError):
    """Raised where a row turns out to give no example."""

    def __init__(self, reason: Unusable) -> None:
        super().__init__(reason)
        self.reason = reason
