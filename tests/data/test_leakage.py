"""Test dialogues that stand in the training data, and pairs that come twice."""

import json
import tracemalloc
from pathlib import Path

import pytest
from data_helpers import EOS, example, run_stage, write_params, write_raw, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from preference.data import leakage
from preference.data.formats.example import Example
from preference.data.leakage import Seen

few = st.sampled_from(["a", "b", "ab", ""])
pairs = st.lists(st.builds(example, few, few, few), max_size=12)


def seen(*examples: Example) -> Seen:
    found = Seen()
    for one in examples:
        found.add(one)
    return found


def shared(train: Seen, *examples: Example) -> tuple[int, int]:
    """How many have a prompt, and a dialogue, that training has."""
    own = seen(*examples)
    return own.also_in(train, "prompts"), own.also_in(train, "dialogues")


def test_prompts_and_dialogues_by_hand() -> None:
    where, why = example("Where?", "here", "there"), example("Why?", "so", "because")
    train = seen(where, why, where)
    assert train.duplicates == 1
    # The same prompt with other answers is no dialogue that training has seen.
    other = example("Where?", "nowhere", "everywhere")
    assert shared(train, other) == (1, 0)
    # A response that was the rejected one counts as well.
    assert shared(train, example("Why?", "because", "no")) == (1, 1)
    # A row with two such dialogues is one row.
    assert shared(train, example("Why?", "because", "so"), other, why) == (3, 2)
    # The same dialogue, whose prompt was longer because its other response began alike.
    alike = example("Where? he", "re", "aven")
    assert shared(train, alike) == (0, 0)
    train.add(example("Where? ", "here", "there"))
    assert shared(train, alike) == (0, 1)
    # What comes twice is a pair, not two dialogues of two pairs.
    train.add(example("Where?", "here", "because"))
    assert train.duplicates == 1


@given(pairs, pairs, st.sampled_from([1, 3, 2**19]), st.sampled_from([20, 2**22]))
def test_digests_tell_what_the_texts_themselves_tell(
    train: list[Example], test: list[Example], together: int, in_memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leakage, "TOGETHER", together)
        # Few bytes go to disk at once.
        patch.setattr(leakage, "IN_MEMORY", in_memory)
        known = seen(*train)
        assert known.duplicates == sum(p in train[:i] for i, p in enumerate(train))
        dialogues = {p.prompt + response for p in train for response in p.responses}
        assert shared(known, *test) == (
            sum(any(pair.prompt == p.prompt for p in train) for pair in test),
            sum(any(pair.prompt + r in dialogues for r in pair.responses) for pair in test),
        )


def test_many_rows_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "TOGETHER", 2**12)
    monkeypatch.setattr(leakage, "IN_MEMORY", 2**14)
    tracemalloc.start()
    train = Seen()
    for number in range(60_000):
        train.add(example(f"{number % 50_000}?", "yes", "no"))
    assert train.duplicates == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 60_000
    assert shared(train, example("7?", "maybe", "yes"), example("-1?", "yes", "no")) == (1, 1)


def test_prepare_counts_what_leaks_and_what_comes_twice(tmp_path: Path) -> None:
    def row(question: str, *answers: str) -> tuple[str, str]:
        chosen, rejected = (f"\n\nHuman: {question}\n\nAssistant: {a}" for a in answers)
        return chosen, rejected

    train = [
        row("Where?", "here", "there"),
        row("Why?", "so", "so"),
        row("Where?", "here", "there"),
    ]
    test = [
        row("Where?", "here", "no"),
        row("Where?", "a", "b"),
        row("Who?", "here", "there"),
        row("When?", "now", "now"),
    ]
    write_params(tmp_path / "params.yaml", {"data.train_pairs": None, "data.eval_pairs": None})
    write_tokenizer(tmp_path / "models" / "base", eos_token=EOS)
    write_raw(tmp_path / "data" / "raw" / "train.parquet", train)
    write_raw(tmp_path / "data" / "raw" / "test.parquet", test)
    done = run_stage("prepare", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "data/prepared/test.parquet: 1 of the 4 examples have a dialogue that the training data "
        "have, too" in done.stderr
    )
    found = json.loads((tmp_path / "results" / "metrics" / "prepare.json").read_text())
    assert found["train"]["duplicates"] == 1
    assert found["train"]["identical_responses"] == 1
    assert "prompts_in_train" not in found["train"]
    assert found["test"]["duplicates"] == 0
    assert found["test"]["identical_responses"] == 1
    assert found["test"]["prompts_in_train"] == 2
    assert found["test"]["dialogues_in_train"] == 1
