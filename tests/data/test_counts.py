"""What became of a split's rows, counted and told."""

from pathlib import Path

import data_helpers
import pytest
from data_helpers import EOS, example, write_tokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.counts import Counts
from preference.data.encoding import Encoder
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import Seen


def labelled(prompt: str, response: str) -> Example:
    return example(prompt, response, "")._replace(
        responses=(response,), pairs=(), labels=(True,), weights=(None,)
    )


def test_tokens_and_cuts_of_a_batch_are_counted(tmp_path: Path) -> None:
    """A letter is a token: prompts of 4, and EOS behind each response."""
    loaded = tokens.load(write_tokenizer(tmp_path, eos_token=EOS))
    settings = data_helpers.data(bos="never", max_length=8)
    batch = [
        example("QXZW", "QX", "QXZ"),
        example("QXZW", "QX", "QXZWQ"),
        # Three responses, one of them in two pairs: the prompt is one.
        example("QXZW", "Q", "X")._replace(responses=("Q", "X", "QXZWQXZ"), pairs=((0, 1), (0, 2))),
        labelled("QXZW", "Q"),
        labelled(f"{EOS}QXZW", f"QX{EOS}"),
    ]
    assert len(tokens.encode(loaded.tokenizer, ["QXZW"])[0]) == 4
    counts = Counts()
    counts.measure(Encoder(loaded, settings, "none").encode(list(range(5)), batch))
    assert (counts.pairs, counts.truncated_pairs) == (4, 2)
    assert (counts.chosen_tokens, counts.rejected_tokens) == (3 + 3 + 2 + 2, 4 + 6 + 2 + 8)
    # Of the last prompt, EOS spelt out is more than is kept.
    assert counts.prompt_tokens == 4 + 4 + 4 + 4 + 5
    spelt = len(tokens.encode(loaded.tokenizer, ["<"])[0])
    assert spelt == 1
    assert (counts.special_tokens, counts.ended_responses) == (1, 1)
    assert (counts.labelled_responses, counts.truncated_labelled, counts.examples) == (2, 1, 6)
    found = tokens.Spelt(loaded.tokenizer)
    (ids,) = found.encode([found.hidden(EOS)[0]])
    assert counts.truncated_tokens == 2 + 4 + (len(ids) + 4 + 3 - 8)


def test_examples_are_compared_with_each_other_and_with_training() -> None:
    counts, seen, train = Counts(), Seen(), Seen()
    train.add(example("Where?", "here", "there"))
    for one in (
        example("Where?", "here", "no"),
        example("Where?", "a", "a"),
        example("Where?", "a", "a"),
        example("Who?", "b", "c")._replace(by_common_prefix=True),
    ):
        counts.look_at(one)
        seen.add(one)
    counts.compare(seen, train)
    assert (counts.prompts_in_train, counts.dialogues_in_train) == (3, 1)
    assert (counts.duplicates, counts.identical_responses, counts.common_prefix) == (1, 2, 1)
    alone = Counts()
    alone.compare(Seen(), None)
    assert "prompts_in_train" not in alone.as_dict()
    assert "labelled_responses" not in alone.as_dict()


def test_the_first_skipped_rows_are_named_in_order() -> None:
    counts = Counts()
    for row in (3, 1, *range(4, 30)):
        counts.skip(row, Unusable.EMPTY_PROMPT if row % 2 else Unusable.TOO_LONG)
    assert counts.skipped == {"empty_prompt": 15, "too_long": 13}
    assert counts.skipped_rows == [1, *range(3, 22)]


def test_a_split_is_described_in_a_line() -> None:
    counts = Counts("ranked", "chat", rows_read=9, pairs=4, skipped={"empty_prompt": 2, "x": 0})
    assert counts.describe() == (
        "4 pairs of 9 rows read, format ranked, template chat; skipped: 2 empty_prompt"
    )
    labelled = Counts("labelled", "none", rows_read=9, labelled_responses=9)
    assert labelled.describe() == (
        "0 pairs and 9 labelled responses of 9 rows read, format labelled, template none; "
        "skipped: none"
    )


WARNINGS: list[tuple[Counts, int | None, list[str]]] = [
    (Counts(pairs=4), 4, []),
    (Counts(pairs=4), None, []),
    (Counts(pairs=4), 5, ["has 4 examples, fewer than the 5 asked for"]),
    (Counts(pairs=3, labelled_responses=2), 5, []),
    (Counts(pairs=4, common_prefix=1), 4, ["1 of 4 examples have no Assistant: marker"]),
    (Counts(pairs=4, dialogues_in_train=2), 4, ["2 of the 4 examples have a dialogue that"]),
    (Counts(pairs=4, truncated_pairs=2, truncated_tokens=9), 4, []),
    (Counts(pairs=4, truncated_pairs=3, truncated_tokens=9), 4, ["3 of 4 lose tokens", "9 in all"]),
    (Counts(labelled_responses=1, truncated_labelled=1), 1, ["1 of 1 lose tokens"]),
    (Counts(pairs=4, special_tokens=7), 4, ["7 special tokens are spelt"]),
]


@pytest.mark.parametrize(("counts", "wanted", "parts"), WARNINGS)
def test_warnings_say_what_a_trainer_should_know(
    counts: Counts, wanted: int | None, parts: list[str]
) -> None:
    found = list(counts.warnings(wanted))
    assert len(found) == bool(parts)
    assert all(part in found[0] for part in parts)


def test_data_of_which_most_prompts_are_a_guess_are_refused() -> None:
    raw = Path("data/raw/train.parquet")
    Counts(pairs=4, common_prefix=2).require_prompts(raw)
    with pytest.raises(
        InputError, match=r"data/raw/train\.parquet: 3 of 4 examples have no"
    ) as caught:
        Counts(pairs=4, common_prefix=3).require_prompts(raw)
    assert "set data.format: dialogues" in str(caught.value)
