"""Labelled single responses, read as they are."""

import pytest

from preference.data.formats import labelled
from preference.data.formats.example import Example, Unusable


@pytest.mark.parametrize(("label", "weight"), [(True, None), (False, 0.5)])
def test_a_row_is_one_response_with_its_label(label: bool, weight: float | None) -> None:
    found = labelled.read("Where?", "Here.", label, weight)
    assert isinstance(found, Example)
    assert (found.prompt, found.responses, found.pairs) == ("Where?", ("Here.",), ())
    assert (found.labels, found.weights) == ((label,), (weight,))
    assert found.turns == (("user", 0, 6),)


@pytest.mark.parametrize(
    ("prompt", "completion", "reason"),
    [(" ", "Here.", Unusable.EMPTY_PROMPT), ("Where?", "\n", Unusable.EMPTY_RESPONSE)],
)
def test_empty_texts_are_unusable(prompt: str, completion: str, reason: Unusable) -> None:
    assert labelled.read(prompt, completion, True, None) == reason
    assert reason in labelled.REASONS
