"""Room for tokens, from what two short passes take."""

import numpy as np
import torch
from meters import Meter

from preference.runtime import room
from preference.runtime.room import Room

POSITIONS = np.array([100, 300, 50, 40, 700, 260])


def passes(visited: list[list[int]]) -> room.Pass:
    """Passes that take 1,000 bytes a position, and 50,000 whatever they have."""

    def run(index: np.ndarray) -> None:
        visited.append(index.tolist())
        kept = [torch.empty(1000 * int(POSITIONS[index].sum()), dtype=torch.uint8)]
        kept.append(torch.empty(50_000, dtype=torch.uint8))

    return run


def test_room_is_linear_in_what_two_passes_take() -> None:
    visited: list[list[int]] = []
    found = room.measured(Meter(10_050_000), passes(visited), POSITIONS, reserved=1_000_000)
    assert found == Room(int(0.85 * 9000), 1000.0, 9_050_000)
    # The longest first, twice, since libraries keep something the first time; then twice as much.
    assert visited == [[4], [4], [4, 1, 5, 0, 2]]


def test_there_is_always_room_for_an_item_and_never_for_more_than_helps() -> None:
    for free, tokens in ((0, 1), (10**12, room.MOST)):
        found = room.measured(Meter(free), passes([]), POSITIONS)
        assert found is not None
        assert found.tokens == tokens


def test_of_too_few_items_nothing_can_be_told() -> None:
    visited: list[list[int]] = []
    for few in ([4], [0, 2, 3], [4, 1, 5, 0]):
        assert room.measured(Meter(10**9), passes(visited), POSITIONS[few]) is None
    assert visited == []
