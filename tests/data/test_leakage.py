"""Test dialogues that stand in the training data, and pairs that come twice."""

import json
from pathlib import Path

from data_helpers import EOS, example, run_stage, write_params, write_raw, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from preference.data.formats.example import Example
from preference.data.leakage import Seen

few = st.sampled_from(["a", "b", "ab", ""])
pairs = st.lists(st.builds(example, few, few, few), max_size=12)


def test_prompts_and_dialogues_by_hand() -> None:
    train = Seen()
    assert not train.add(example("Where?", "here", "there"))
    assert not train.add(example("Why?", "so", "because"))
    assert train.add(example("Where?", "here", "there"))
    # The same prompt with other answers is no dialogue that training has seen.
    other = example("Where?", "nowhere", "everywhere")
    assert train.has_prompt(other)
    assert not train.has_dialogue(other)
    # A response that was the rejected one counts as well.
    swapped = example("Why?", "because", "no")
    assert train.has_dialogue(swapped)
    # The same dialogue, whose prompt was longer because its other response began alike.
    alike = example("Where? he", "re", "aven")
    assert not train.has_prompt(alike)
    assert not train.has_dialogue(alike)
    train.add(example("Where? ", "here", "there"))
    assert train.has_dialogue(alike)
    assert not train.has_prompt(alike)
    # What comes twice is a pair, not two dialogues of two pairs.
    assert not train.add(example("Where?", "here", "because"))


@given(pairs, pairs)
def test_digests_tell_what_the_texts_themselves_tell(
    train: list[Example], test: list[Example]
) -> None:
    seen = Seen()
    assert [seen.add(pair) for pair in train] == [p in train[:i] for i, p in enumerate(train)]
    dialogues = {p.prompt + response for p in train for response in p.responses}
    for pair in test:
        assert seen.has_prompt(pair) == any(pair.prompt == p.prompt for p in train)
        own = {pair.prompt + response for response in pair.responses}
        assert seen.has_dialogue(pair) == bool(own & dialogues)


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
