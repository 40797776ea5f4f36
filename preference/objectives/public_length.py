"""The public length of a pair, which both of its responses have (Liu et al. 2024, section 3)."""

from dataclasses import replace

import numpy as np

from preference.core.errors import InputError
from preference.store.examples import Examples, Ragged


def public_lengths(examples: Examples) -> np.ndarray:
    """Tokens of the shorter response of each one's pair; of one in no pair its own, (responses,).

    Raises:
        InputError: a response is in several pairs, with different lengths in them.
    """
    lengths, pairs = examples.responses.lengths, examples.index.pairs
    shorter = lengths[pairs].min(axis=1)
    found = lengths.copy()
    for side in pairs.T:
        found[side] = shorter
    other = np.flatnonzero((found[pairs] != shorter[:, None]).any(axis=1))
    if len(other):
        raise InputError(
            f"train.objective: ld_dpo compares up to the length of a pair's shorter response, and "
            f"a response of row {examples.index.pair_rows[other[0]]} is in pairs of several such "
            "lengths; give each pair responses of its own (data.rankings: {pairs: best-worst}), or "
            "take another objective"
        )
    return found


def to_public_length(examples: Examples) -> Examples:
    """The same prompts, with each response cut to its public length.

    What a model gives these is what it gives the first tokens of the whole ones.
    """
    lengths, responses = public_lengths(examples), examples.responses
    starts = np.repeat(responses.offsets[:-1] - np.cumsum(lengths) + lengths, lengths)
    values = responses.values[starts + np.arange(len(starts))]
    return replace(examples, responses=Ragged.of(values, lengths))
