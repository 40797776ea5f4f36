"""Label noise: training labels that are swapped on purpose."""

import numpy as np


def flips(count: int, share: float, seed: int) -> np.ndarray:
    """Which training labels `train.label_noise` swaps, (count,) booleans.

    Exactly round(share x count), drawn so that a smaller share flips a subset of a larger one.
    """
    flipped = np.zeros(count, dtype=bool)
    order = np.random.default_rng([seed, *b"label_noise"]).permutation(count)
    flipped[order[: round(share * count)]] = True
    return flipped
