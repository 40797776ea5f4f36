"""Which rows are trained on, held out for validation, or left out."""

import json
from pathlib import Path

import data_helpers
import pytest
from data_helpers import EOS, run_stage, write_params, write_raw, write_tokenizer

from preference.core.params import Data
from preference.data import splits
from preference.data.formats.example import Example, Unusable
from preference.data.prepare import RawTable
from preference.store import texts


def row(dialogue: str, *later: str, answers: tuple[str, str] = ("yes", "no")) -> tuple[str, str]:
    head = "".join(f"\n\nHuman: {asked}\n\nAssistant: so" for asked in (dialogue, *later))
    chosen, rejected = (f"{head.removesuffix(' so')} {answer}" for answer in answers)
    return chosen, rejected


# Each dialogue in two rows, of which the second goes on.
TRAIN = [row(f"question {i}", *more) for i in range(30) for more in ([], ["and then?"])]
TEST = [row("question 3"), row("question 7", answers=("other", "no")), row("elsewhere")]


def judged(directory: Path, split: str, settings: Data) -> list[Unusable | bool]:
    """What is said of each row of the training data."""
    tables = [
        RawTable(write_raw(directory / f"{name}.parquet", rows), settings)
        for name, rows in (("train", TRAIN), ("test", TEST))
    ]
    judge = splits.judge(split, tables[0], tables[1], settings)
    return [judge(one) for _, one in tables[0].examples() if isinstance(one, Example)]


def test_all_rows_are_trained_on_where_nothing_else_is_asked(tmp_path: Path) -> None:
    settings = data_helpers.data(train_pairs=None)
    assert judged(tmp_path, "train", settings) == [True] * 60
    assert judged(tmp_path, "test", settings) == [True] * 60


@pytest.mark.parametrize("pairs", [1, 2, 7, 20])
def test_validation_takes_whole_dialogues_from_training(tmp_path: Path, pairs: int) -> None:
    settings = data_helpers.data(train_pairs=None, validation_pairs=pairs)
    held = judged(tmp_path, "validation", settings)
    # Every dialogue has two rows, and they stay together.
    assert sum(bool(one) for one in held) == pairs + pairs % 2
    assert held[0::2] == held[1::2]
    assert judged(tmp_path, "train", settings) == [not one for one in held]
    # More of them begin with the same ones.
    more = judged(tmp_path, "validation", settings.model_copy(update={"validation_pairs": 25}))
    assert all(b for a, b in zip(held, more, strict=True) if a)


def test_what_is_held_out_comes_from_the_first_rows(tmp_path: Path) -> None:
    settings = data_helpers.data(train_pairs=10, validation_pairs=4)
    held = judged(tmp_path, "validation", settings)
    assert sum(bool(one) for one in held[:14]) == 4
    assert not any(held[14:])


def test_training_rows_with_a_dialogue_of_the_test_data_are_left_out(tmp_path: Path) -> None:
    settings = data_helpers.data(train_pairs=None, decontaminate="exact")
    found = judged(tmp_path, "train", settings)
    # Of question 3 both dialogues, of question 7 the rejected one; what goes on is another one.
    assert [i for i, one in enumerate(found) if one is Unusable.IN_TEST] == [6, 14]
    assert all(one is True for i, one in enumerate(found) if i not in (6, 14))


def test_the_stage_writes_the_validation_split(tmp_path: Path) -> None:
    write_params(
        tmp_path / "params.yaml",
        {
            "data.train_pairs": 20,
            "data.validation_pairs": 6,
            "data.eval_pairs": None,
            "data.decontaminate": "exact",
        },
    )
    write_tokenizer(tmp_path / "models" / "base", eos_token=EOS)
    write_raw(tmp_path / "data" / "raw" / "train.parquet", TRAIN)
    write_raw(tmp_path / "data" / "raw" / "test.parquet", TEST)
    done = run_stage("prepare", tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "results/metrics/prepare.json").read_text())
    assert list(metrics) == ["train", "test", "validation"]
    found = {
        split: {
            text.questions[0] for text in texts.read(tmp_path / f"data/prepared/{split}.parquet")
        }
        for split in metrics
    }
    assert found["train"] & found["validation"] == set()
    assert (metrics["train"]["pairs"], metrics["validation"]["pairs"]) == (20, 6)
    assert metrics["train"]["skipped"]["in_test"] == 2
    assert metrics["validation"]["dialogues_in_train"] == 0
