"""Which column is which, and what its texts stand for."""

import csv
from pathlib import Path

import pytest
from format_cases import ASKED, TEXTS, gpt, human, labelled, pair, read, refused, write

from preference.core.data_params import Columns
from preference.data.formats import columns
from preference.data.formats.example import Turn


def test_a_column_beside_one_of_ours_by_name_is_not_left_out(tmp_path: Path) -> None:
    place = write(tmp_path / "own", [TEXTS | {"question": "Which?"}])
    assert "column 'prompt' looks like" in refused(place, columns={"prompt": "question"})


def test_columns_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    more = {"id": 7, "source": "web", "meta": {"a": [1]}, "system": "", "label": None, "tools": []}
    assert read(write(tmp_path / "own", [TEXTS | more])) == [
        pair([ASKED], "Here.", "No.", text="Where?")
    ]


def test_a_later_row_may_lack_what_is_joined(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add", "input": "1", "chosen": "a", "rejected": "b"},
        {"instruction": "Sing", "chosen": "a", "rejected": "b"},
    ]
    place = write(tmp_path / "own", rows)
    found = read(place, columns={"prompt": ["instruction", "input"]})
    assert found == [
        pair([Turn("user", text)], "a", "b", text=text) for text in ("Add\n\n1", "Sing")
    ]


def test_values_of_csv_have_the_types_of_their_columns(tmp_path: Path) -> None:
    place = tmp_path / "own"
    place.mkdir()
    with (place / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["question", "completion", "good", "weight"],
                ["1", "true", "True", "0.5"],
                ["null", "[1]", "false", ""],
                ["a", "b", "1", "2"],
            ]
        )
    found = read(place, columns={"prompt": "question", "label": "good"})
    assert found == [
        labelled([Turn("user", "1")], "true", True, 0.5, "1"),
        labelled([Turn("user", "null")], "[1]", False, None, "null"),
        labelled([Turn("user", "a")], "b", True, 2.0, "a"),
    ]
    path = place / "train.csv"
    path.write_text(path.read_text().replace("True", "yes"))
    message = refused(place, columns={"prompt": "question", "label": "good"})
    assert message.startswith(f"{path}, line 2: column 'label' must be true or false")


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        (["conversations", "chosen"], {}, {"prompt": ["conversations"], "chosen": ["chosen"]}),
        (["conversations", "label"], {}, {"messages": ["conversations"], "label": ["label"]}),
        (["responses"], {}, {"completions": ["responses"]}),
        # Both of two names: neither is the other.
        (["prompt", "conversations"], {}, {n: [n] for n in ("prompt", "conversations")}),
        (["a", "b"], {"chosen": "b", "ignore": "a"}, {"chosen": ["b"]}),
        (
            ["chosen", "rejected"],
            {"chosen": "rejected", "rejected": "chosen"},
            {"chosen": ["rejected"], "rejected": ["chosen"]},
        ),
        (["b"], {"prompt": ["a", "b"]}, {"prompt": ["b"]}),
        (["c"], {"prompt": ["a", "b"]}, {"c": ["c"]}),
    ],
)
def test_names_of_columns(
    source: list[str], given: dict[str, str | list[str]], expected: dict[str, list[str]]
) -> None:
    assert columns.Names(Columns.model_validate(given)).of(source) == expected


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        *[(name, columns.PROMPT) for name in ("prompt", "System", "history", "tools", "input")],
        *[(name, "a label") for name in ("label", "winner", "Preference")],
        *[(name, "a score") for name in ("score_chosen", "Rejected-Ratings", "margin", "weights")],
        *[(name, "") for name in ("id", "source", "prompt_id", "scoreboard", "model", "text")],
    ],
)
def test_what_a_name_means(name: str, looks: str) -> None:
    assert columns.meaning(name) == looks


def test_only_texts_are_joined() -> None:
    source = {"a": "x", "b": None, "c": "", "d": "y", "e": ["z"]}
    assert columns.value("prompt", ["a", "b", "c", "d"], source) == "x\n\ny"
    with pytest.raises(ValueError, match="prompt: only texts can be joined"):
        columns.value("prompt", ["e", "a"], source)


def test_a_text_before_messages_is_the_systems(tmp_path: Path) -> None:
    row = {"conversations": [human("Where?")], "chosen": gpt("Here."), "rejected": gpt("No.")}
    rows = [{"system": text, **row} for text in ("Be kind.", "", None)]
    for kind in ("jsonl", "parquet"):
        place = write(tmp_path / kind, rows, kind)
        found = read(place, columns={"prompt": ["system", "conversations"]})
        with_system = pair([Turn("system", "Be kind."), ASKED], "Here.", "No.")
        assert found == [with_system, *[pair([ASKED], "Here.", "No.")] * 2]


def test_an_empty_list_is_neither_text_nor_messages() -> None:
    kinds = columns.Kinds()
    for value in ([], None, ["a"], "a", [["a"]]):
        kinds.require_same({"completions": value})
    with pytest.raises(ValueError, match="is messages here, and text in rows before"):
        kinds.require_same({"completions": [[{"role": "user"}]]})
