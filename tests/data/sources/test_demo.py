"""The embedded demo's dialogues."""

import re
from collections.abc import Iterator

import pytest

from preference.core.data_params import Demo
from preference.data.formats.hh import Pair, split
from preference.data.sources import demo

Rows = list[tuple[str, str]]


def made(part: str = "train", **settings: int | str) -> Rows:
    return list(demo.rows(part, Demo.model_validate(settings)))


def pairs(rows: Rows) -> Iterator[Pair]:
    for row in rows:
        pair = split(*row)
        assert isinstance(pair, Pair), row
        yield pair


def occurring(values: list[str], text: str) -> set[str]:
    # As whole words: a gardener is no garden.
    return set(re.findall(rf"\b(?:{'|'.join(map(re.escape, values))})\b", text))


@pytest.fixture(scope="module")
def many() -> Rows:
    return made(train_rows=60_000)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_seed_always_gives_the_same_rows(part: str) -> None:
    settings = {"train_rows": 300, "test_rows": 300, "seed": 7}
    assert made(part, **settings) == made(part, **settings)


def test_another_seed_gives_other_rows() -> None:
    first, second = made(train_rows=300, seed=0), made(train_rows=300, seed=1)
    assert len(set(first) & set(second)) < 5


def test_a_split_has_the_rows_asked_for() -> None:
    settings = {"train_rows": 30, "test_rows": 20}
    assert len(made("train", **settings)) == 30
    assert len(made("test", **settings)) == 20


def test_more_rows_begin_with_the_same_ones() -> None:
    assert made(train_rows=300)[:100] == made(train_rows=100)


def test_at_least_50_000_dialogues_are_distinct(many: Rows) -> None:
    assert len({chosen for chosen, _ in many}) >= 50_000
    assert len({pair.prompt for pair in pairs(many)}) >= 25_000


def test_dialogues_have_one_to_four_turns(many: Rows) -> None:
    for side in (0, 1):
        assert {row[side].count("\n\nAssistant:") for row in many[:5_000]} == {1, 2, 3, 4}


def test_turns_alternate_in_the_format_of_hh_rlhf(many: Rows) -> None:
    turns = re.compile(r"(\n\nHuman: [^\n]+\n\nAssistant: [^\n]+)+")
    assert all(turns.fullmatch(text) for row in many[:5_000] for text in row)


def test_no_slot_is_left_unfilled(many: Rows) -> None:
    assert not any("{" in text or "}" in text for row in many for text in row)


@pytest.mark.parametrize("lengths", ["short", "hh-rlhf"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_every_row_gives_a_pair_of_different_responses(part: str, lengths: str) -> None:
    rows = made(part, train_rows=2_000, test_rows=2_000, lengths=lengths)
    same = sum(pair.chosen == pair.rejected for pair in pairs(rows))
    assert same == 0


def test_the_prompt_is_all_before_the_last_answer(many: Rows) -> None:
    for (chosen, rejected), pair in zip(many[:5_000], pairs(many[:5_000]), strict=True):
        assert chosen == f"{pair.prompt} {pair.chosen}"
        assert rejected == f"{pair.prompt} {pair.rejected}"


def test_splits_share_no_slot_value() -> None:
    train, test = demo._values("train"), demo._values("test")
    assert train.keys() == test.keys()
    for slot in train:
        assert train[slot]
        assert test[slot]
        assert not set(train[slot]) & set(test[slot])


def test_training_never_sees_the_slot_values_of_test_dialogues() -> None:
    settings = {"train_rows": 6_000, "test_rows": 2_000}
    train, test = ("\n".join(map("".join, made(part, **settings))) for part in ("train", "test"))
    for values in demo._values("test").values():
        assert occurring(values, train) == set()
        assert occurring(values, test) == set(values)
    for values in demo._values("train").values():
        assert occurring(values, train) == set(values)


@pytest.mark.parametrize("lengths", ["short", "hh-rlhf"])
def test_lengths_do_not_give_the_label_away(lengths: str) -> None:
    rows = made(train_rows=20_000, lengths=lengths, seed=3)
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs(rows))
    shorter = sum(len(pair.chosen) < len(pair.rejected) for pair in pairs(rows))
    assert abs(longer / len(rows) - 0.5) < 0.03
    assert abs(longer / (longer + shorter) - 0.5) < 0.03


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_tenth_of_the_labels_is_flipped(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"train_rows": 10_000, "test_rows": 10_000}
    flipped = made(part, **settings)
    monkeypatch.setattr(demo, "FLIPPED", 0)
    unflipped = made(part, **settings)
    swaps = 0
    for row, straight in zip(flipped, unflipped, strict=True):
        assert row in (straight, straight[::-1])
        swaps += row != straight
    assert 0.09 < swaps / len(flipped) < 0.11


def test_the_profile_of_hh_rlhf_is_longer() -> None:
    def mean(lengths: str) -> float:
        rows = made(train_rows=2_000, lengths=lengths)
        return sum(len(pair.chosen) + len(pair.rejected) for pair in pairs(rows)) / len(rows)

    assert mean("hh-rlhf") > 1.5 * mean("short")
