"""Label noise: training labels that are swapped on purpose."""

import numpy as np

from preference.store.index import shuffled


def flips(count: int, share: float, seed: int) -> np.ndarray:
    """Which training labels `train.label_noise` swaps, (count,) booleans.

    Exactly round(share x count), drawn so that a smaller share flips a subset of a larger one.
    """
    flipped = np.zeros(count, dtype=bool)
    if wrong := round(share * count):
        flipped[shuffled(count, seed, *b"label_noise")[:wrong]] = True
    return flipped
