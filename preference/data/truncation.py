"""Truncation: what is left of prompt and response where they are longer than a model is to see."""

from typing import Literal, NamedTuple

import numpy as np

from preference.store.examples import Ragged

How = Literal["start", "end", "drop"]


class Cut(NamedTuple):
    """Prompts and responses that fit.

    Attributes:
        kept: (responses,); how many of the last tokens of its prompt each response sees.
        lost: (responses,); tokens of prompt and response that are gone.
    """

    prompts: Ragged
    responses: Ragged
    kept: np.ndarray
    lost: np.ndarray


def truncate(
    prompts: Ragged,
    responses: Ragged,
    counts: np.ndarray,
    limit: int,
    how: How,
    fixed: tuple[int, int] = (0, 0),
) -> Cut:
    """Cut prompts and responses to `limit` tokens together.

    A response comes first: it keeps its last tokens, EOS among them, or with `end` its first; the
    prompt keeps what there is room for beside it, its last tokens, or with `end` its first. Where
    nothing of the prompt is fixed and its beginning goes, each response has the room that it leaves
    itself; else all responses to a prompt see the same of it.

    Args:
        counts: (prompts,); responses of each.
        fixed: tokens at a prompt's beginning (BOS) and at its end (what opens an answer) that stay.
    """
    prompt_of, starts = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
    sizes = np.minimum(responses.lengths, limit)
    cut = keep(responses, sizes, 0) if how == "end" else keep(responses, 0, sizes)
    whole = prompts.lengths
    kept = np.minimum(whole[prompt_of], limit - sizes)
    if how != "end" and not fixed[0]:
        left = keep(prompts, 0, np.maximum.reduceat(kept, starts))
    else:
        room = np.minimum.reduceat(kept, starts)
        front = np.minimum(fixed[0], room)
        if how == "end":
            front = room - np.minimum(fixed[1], room)
        left, kept = keep(prompts, front, room - front), room[prompt_of]
    lost = whole[prompt_of] + responses.lengths - kept - sizes
    return Cut(left, cut, kept, lost)


def keep(rows: Ragged, first: np.ndarray | int, last: np.ndarray | int) -> Ragged:
    """Cut each row to its first and its last tokens, so many a row or one number for all."""
    lengths = np.broadcast_to(first + last, len(rows))
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    from_end = np.repeat(rows.starts + rows.lengths - lengths, lengths) + place
    from_start = np.repeat(rows.starts, lengths) + place
    front = np.repeat(np.broadcast_to(first, len(rows)), lengths)
    return Ragged.of(rows.values[np.where(place < front, from_start, from_end)], lengths)
