"""Where the positions of packed rows may look."""

import naive
import numpy as np
import torch

from preference.model import batches
from preference.model.attention import packing

BOTH = np.array([0, 1])  # responses of the first pair


def test_second_response_sees_the_prompt_and_itself() -> None:
    pairs = naive.make_pairs([([5], [7, 8, 6], [9, 4, 3])], 10)
    span, _ = batches.make(pairs, [BOTH], "packed").model_inputs()["packing"].spans
    assert (span.tokens, packing.filling(span.tokens)) == (7, 9)
    assert set(span.bias.unique().tolist()) == {0, -torch.inf}
    seen = (span.bias == 0).int().tolist()
    assert [row[:8] for row in seen[:7]] == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 1, 1, 0],
    ]
    # What fills the row up is seen by nothing that counts, and sees something itself.
    assert all(any(row) for row in seen)


def test_single_responses_need_no_bias() -> None:
    pairs = naive.make_pairs([([5], [7, 8, 6], [9, 4, 3])], 10)
    spans = batches.make(pairs, [BOTH[:1]], "packed").model_inputs()["packing"].spans
    assert spans == [(4, None), (12, None)]
