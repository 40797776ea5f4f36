"""Which training rows are trained on: none that validation or, if asked, the test data have."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_helpers import PARAMS, write_raw

from preference.core.data_params import Data
from preference.data import splits
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import digest
from preference.data.prepare import RawTable


def row(question: str, better: str = "Yes.", worse: str = "No.") -> tuple[str, str]:
    begin = f"\n\nHuman: {question}\n\nAssistant: "
    return begin + better, begin + worse


TALE = "The old town lies between two hills, and every road of it leads down to the river, where "
TRAIN = [
    *(row(f"Where is number {number}?") for number in range(40)),
    # Five of these dialogues go on in another row.
    *(row(f"Where is number {number}?\n\nAssistant: Here.\n\nHuman: Go on") for number in range(5)),
    row("A long one?", TALE + "the mills stand."),
    row("Never asked?", "Yes."),
]
TEST = [row("A long one?", TALE + "the Mills - stand!", "Nothing."), row("Never asked?", "Yes.")]


def judged(tmp_path: Path, split: str, **changes: Any) -> list[tuple[str, Unusable | bool]]:
    """The first question of each training row, and what becomes of it."""
    settings = Data.model_validate({**PARAMS["data"], "train_pairs": None, **changes})
    train, test = (
        RawTable(write_raw(tmp_path / f"{name}.parquet", rows), settings)
        for name, rows in (("train", TRAIN), ("test", TEST))
    )
    judge = splits.judges(train, test, settings)[split]
    found = [example for _, example in train.examples() if isinstance(example, Example)]
    assert len(found) == len(TRAIN)
    return [(example.turns[0].content, judge(example)) for example in found]


def test_by_default_all_rows_are_trained_on(tmp_path: Path) -> None:
    assert {found for _, found in judged(tmp_path, "train")} == {True}
    assert {found for _, found in judged(tmp_path, "test", decontaminate="near")} == {True}


@pytest.mark.parametrize("pairs", [1, 7, 20])
def test_validation_takes_whole_dialogues_and_no_more_than_it_must(
    pairs: int, tmp_path: Path
) -> None:
    train = judged(tmp_path, "train", validation_pairs=pairs)
    validation = judged(tmp_path, "validation", validation_pairs=pairs)
    # Each row is on one side, and each question.
    assert [one != other for (_, one), (_, other) in zip(train, validation, strict=True)] == (
        [True] * len(TRAIN)
    )
    sides = [{question for question, found in side if found} for side in (train, validation)]
    assert not sides[0] & sides[1]
    held = sum(bool(found) for _, found in validation)
    assert pairs <= held <= pairs + 1
    # The same rows for more pairs, and others with them.
    more = judged(tmp_path, "validation", validation_pairs=pairs + 5)
    assert {q for q, found in validation if found} < {q for q, found in more if found}


@pytest.mark.parametrize("pairs", [1, 2, 6, 21, 100])
def test_those_are_held_out_whose_digests_come_first(pairs: int, tmp_path: Path) -> None:
    found = judged(tmp_path, "validation", validation_pairs=pairs)
    asked = Counter(digest(question) for question, _ in found)
    expected, left = set(), pairs
    for key in sorted(asked):
        if left > 0:
            expected.add(key)
            left -= asked[key]
    assert {digest(question) for question, inside in found if inside} == expected


def test_validation_comes_from_the_first_rows(tmp_path: Path) -> None:
    found = judged(tmp_path, "validation", train_pairs=8, validation_pairs=4)
    held = [question for question, inside in found if inside]
    numbers = {int("".join(filter(str.isdigit, question))) for question in held}
    assert numbers <= set(range(12))
    assert len(numbers) == 4


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("none", [True, True]),
        ("exact", [True, Unusable.IN_TEST]),
        ("near", [Unusable.NEAR_TEST, Unusable.IN_TEST]),
    ],
)
def test_what_the_test_data_have_is_left_out(
    how: str, expected: list[Unusable | bool], split: str, tmp_path: Path
) -> None:
    found = judged(tmp_path, split, decontaminate=how, validation_pairs=len(TRAIN))
    if split == "train":
        found = judged(tmp_path, split, decontaminate=how)
    assert [what for _, what in found[-2:]] == expected
    assert {what for _, what in found[:-2]} == {True}
