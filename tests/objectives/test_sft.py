"""SFT: which responses, what they weigh, and their loss."""

from pathlib import Path

import chat_cases
import data_helpers
import naive
import numpy as np
import pytest
import torch
from objective_cases import COUNTS, LOGPS, PAIRS, labelled

from preference.objectives import sft


def test_it_is_the_negated_log_probability_of_chosen() -> None:
    task = sft.task(PAIRS)
    assert task.unit == "responses"
    assert [item.tolist() for item in task.items] == [[0], [2], [4], [6]]
    found = task.loss(LOGPS[:, 0], COUNTS[:, 0], np.arange(4), None)
    assert found.tolist() == [6.0, 2.0, 8.0, 3.0]


def test_weights_count_scored_tokens() -> None:
    texts = [
        ([1, 2], [5, 6, 0], [5, 0]),
        # The chosen response fills the length, so nothing stands before its first token.
        ([1], [5, 6, 7, 8, 0], [0]),
        ([1, 2, 3], [0], [5, 6, 0]),
    ]
    task = sft.task(naive.make_pairs(texts, 5))
    assert task.weights(np.arange(3)).tolist() == [3, 4, 1]


def test_a_response_that_is_preferred_twice_is_visited_once() -> None:
    examples = naive.make_examples([([1], [[2], [3], [4]])], 8, [(0, 1), (0, 2), (1, 2)])
    assert [item.tolist() for item in sft.task(examples).items] == [[0], [1]]


def test_desirable_responses_count_by_their_weights() -> None:
    examples, _ = labelled([1, 0, 1], [1.0, 1.0, 0.5])
    task = sft.task(examples)
    assert [item.tolist() for item in task.items] == [[0], [2]]
    assert task.weights(np.arange(2)).tolist() == [2.0, 1.0]
    found = task.loss(torch.tensor([-4.0, -6.0]), torch.tensor([2, 2]), np.arange(2), None)
    assert found.tolist() == [4.0, 3.0]


ASKED = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "There. "},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "At  three"},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize(("bos", "limit"), [("never", 10_000), ("auto", 10_000), ("auto", 40)])
@pytest.mark.parametrize(
    ("template", "answers"),
    [
        ("chatml", ["There. <|im_end|>\n", "At  three<|im_end|>\n", "Because.<|im_end|>\n"]),
        ("gemma", ["There.<end_of_turn>\n", "At  three<end_of_turn>\n", "Because.<end_of_turn>\n"]),
        # Its first marker's space goes with the answer.
        ("hh", ["There. ", "At  three", "Because.</s>"]),
    ],
)
def test_all_turns_are_the_assistants_answers_and_no_more(
    template: str, answers: list[str], bos: str, limit: int, tmp_path: Path
) -> None:
    source = chat_cases.TEMPLATES.get(template, (None, ""))[0]
    chat_cases.saved(tmp_path / "base", source, adds_bos=True)
    row = {"prompt": ASKED, "chosen": "Because.", "rejected": "Hm."}
    found = data_helpers.prepared(
        [row, {**row, "prompt": ASKED[-1:]}],
        tmp_path,
        all_turns=True,
        bos=bos,
        max_length=limit,
        template="auto" if source else "hh",
    )
    tokenizer = chat_cases.tokenizer(adds_bos=True)
    task = sft.task(found, all_turns=True)
    texts, before = [], []
    for (response,) in task.items:
        prompt, ids = naive.sequence(task.examples, response)
        texts.append(tokenizer.decode(ids, skip_special_tokens=False))
        before.append(prompt)
    # The last answers of both rows, then the earlier ones of the first.
    expected = [answers[2], answers[2], *answers[:2]]
    if limit < 10_000:
        # What is cut off is not learned; what is cut in two, from there on.
        assert expected[0] == texts[0] == texts[1]
        assert all(
            e.endswith(t) for e, t in zip(expected[-len(texts[2:]) :], texts[2:], strict=True)
        )
    else:
        assert texts == expected
        starts = [p[: len(before[2])] for p in before[3:]]
        assert all(start == before[2] for start in starts)
        weights = task.weights(np.arange(len(task.items)))
        assert weights.tolist() == [len(i) for i in task.examples.responses]
    # Without them, the last ones alone.
    assert len(sft.task(found).items) == 2
