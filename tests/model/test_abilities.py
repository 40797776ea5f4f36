"""How shortcuts are told."""

import pytest

from preference.model.abilities import PLAIN, Abilities


@pytest.mark.parametrize(
    ("abilities", "told"),
    [
        (PLAIN, "plain rows, all logits"),
        (Abilities("shared", bare_output=False), "shared prompts, all logits"),
        (
            Abilities("packed", bare_output=True, compiled=True),
            "packed rows, output layer at scored positions only, compiled layers",
        ),
    ],
)
def test_each_is_named(abilities: Abilities, told: str) -> None:
    assert str(abilities) == told
