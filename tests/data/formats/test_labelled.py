"""Labelled single responses, read as they are."""

import pytest

from preference.data.formats import conversations, labelled
from preference.data.formats.example import Turn

USER, ASSISTANT = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}


@pytest.mark.parametrize(("label", "weight"), [(True, None), (False, 0.5), (False, 0)])
def test_a_row_is_one_response_with_its_label(label: bool, weight: float | None) -> None:
    row = {"prompt": "Where?", "completion": "Here.", "label": label, "weight": weight}
    expected = conversations.row([Turn("", "Where?")], ["Here."], label=label, weight=weight)
    assert labelled.read(row) == expected


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "Where?", "completion": [ASSISTANT]},
        {"messages": [USER, ASSISTANT]},
    ],
)
def test_a_row_may_be_messages(columns: dict[str, object]) -> None:
    expected = conversations.row([Turn("user", "Where?")], ["Here."], label=True)
    assert labelled.read({**columns, "label": True}) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "column 'label' must be true or false, but is null"),
        ({"label": "yes"}, "column 'label' must be true or false, but is 'yes'"),
        ({"weight": -1.0}, "column 'weight' must be 0 or more, but is -1.0"),
        ({"weight": float("inf")}, "column 'weight' must be 0 or more"),
        ({"weight": "1"}, "column 'weight' must be 0 or more, but is '1'"),
    ],
)
def test_labels_and_weights_of_another_type_are_refused(
    changes: dict[str, object], message: str
) -> None:
    good = {"prompt": "Where?", "completion": "Here.", "label": True, "weight": 1.0}
    with pytest.raises(ValueError, match=message):
        labelled.read(good | changes)
