"""Prompts and responses as people read them, from prepared tables."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from preference.store import tables


@dataclass(frozen=True)
class Text:
    """One prompt and its responses, whole.

    Attributes:
        turns: who speaks, `user`, `assistant` or nobody, and what is said.
        pairs: places of chosen and rejected among the responses.
    """

    row: int
    prompt: str
    turns: list[tuple[str, str]]
    responses: list[str]
    pairs: list[tuple[int, int]]

    @property
    def questions(self) -> list[str]:
        """What the user said, turn by turn, in one line each."""
        return [" ".join(said.split()) for role, said in self.turns if role == "user"]

    @property
    def question(self) -> str:
        """The last thing that the user said, in one line."""
        return self.questions[-1] if self.questions else " ".join(self.prompt.split())

    @property
    def preferred(self) -> str:
        """The response that the first pair prefers; without pairs the first one."""
        return self.responses[self.pairs[0][0] if self.pairs else 0]


def read(path: Path, rows: Collection[int] | None = None) -> list[Text]:
    """The texts of a table of `tables.PREPARED`, in its order.

    Args:
        rows: of the raw table, those that are wanted; None stands for all.

    Raises:
        InputError: there is no such table, or it is damaged.
    """
    names = ["row", "prompt", "turns", "responses", "chosen", "rejected"]
    found = tables.read(path, tables.PREPARED, names).to_pylist()
    return [
        Text(
            one["row"],
            one["prompt"],
            [(turn["role"], turn["content"]) for turn in one["turns"]],
            one["responses"],
            list(zip(one["chosen"], one["rejected"], strict=True)),
        )
        for one in found
        if rows is None or one["row"] in rows
    ]
