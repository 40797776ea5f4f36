"""Mismatched combinations: each response behind another prompt, which a KL estimate is had from."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np

from preference.store.examples import Examples, Ragged
from preference.store.index import shuffled


def mismatched(examples: Examples, seed: int) -> Examples:
    """The same responses to other prompts (Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1).

    All responses to a prompt stand behind the same other one, so that they still share it. A prompt
    loses its beginning where the sequence would be longer than the longest of the split, which
    `data.max_length` has bounded.

    Args:
        seed: draws which prompt is whose.
    """
    prompts = examples.prompts
    others = _others(prompts, seed)
    lengths = prompts.lengths[others]
    room = examples.longest - examples.responses.lengths
    return replace(
        examples,
        prompts=Ragged(prompts.values, prompts.starts[others], lengths),
        prompt_tokens=np.minimum(lengths[examples.index.prompt_of], room),
    )


def _others(prompts: Ragged, seed: int) -> np.ndarray:
    """Another prompt for each, (prompts,): its own, or an equal one, only where there is no way.

    Prompts stand in a drawn order, equal ones together, and are shifted by as many as are equal at
    most. An empty one is nobody's: a response of one token would have nothing before it.
    """
    # Of 16 bytes, so that prompts are equal where these are.
    digests = (blake2b(ids.data, digest_size=16).digest() for ids in prompts)
    _, first, group = np.unique(
        np.fromiter(digests, "S16", len(prompts)), return_index=True, return_inverse=True
    )
    # Numbered as they come.
    group = np.argsort(np.argsort(first))[group]
    sizes = np.bincount(group)
    drawn = shuffled(len(sizes), seed, *b"mismatched")
    order = np.argsort(drawn[group], kind="stable")
    others = np.empty_like(order)
    others[order] = np.roll(order, -int(sizes.max(initial=0)))
    return np.where(prompts.lengths[others] > 0, others, np.arange(len(others)))
