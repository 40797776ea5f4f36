"""The public length of a pair, which both of its responses have (Liu et al. 2024, section 3)."""

from dataclasses import replace

import numpy as np

from preference.core.errors import InputError
from preference.store.examples import Examples, Ragged
from preference.store.index import blocks


def public_lengths(examples: Examples) -> np.ndarray:
    """Tokens of the shorter response of each one's pair; of one in no pair its own, (responses,).

    Raises:
        InputError: a response is in several pairs, with different lengths in them.
    """
    lengths, index = examples.responses.lengths, examples.index
    found, own = lengths.copy(), [index.pairs[part] for part in blocks(len(index.pairs))]
    for pairs in own:
        found[pairs] = lengths[pairs].min(axis=1, keepdims=True)
    for pairs in own:
        differ = (found[pairs] != lengths[pairs].min(axis=1, keepdims=True)).any(axis=1)
        if not differ.any():
            continue
        row = index.rows[index.prompt_of[pairs[differ][0, 0]]]
        raise InputError(
            f"train.objective: ld_dpo compares up to the length of a pair's shorter response, and "
            f"a response of row {row} is in pairs of several such "
            "lengths; give each pair responses of its own (data.rankings: {pairs: best-worst}), or "
            "take another objective"
        )
    return found


def to_public_length(examples: Examples) -> Examples:
    """The same prompts, with each response cut to its public length.

    What a model gives these is what it gives the first tokens of the whole ones.
    """
    responses = examples.responses
    cut = Ragged(responses.values, responses.starts, public_lengths(examples))
    return replace(examples, responses=cut)
