"""Made-up models over made-up test pairs, for tests of the report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
from settings import params

from preference.core.params import Params
from preference.report import figures
from preference.store.examples import Examples, Index
from preference.store.scores import Scores
from preference.store.texts import Text

NAMES = ("baseline", "SFT", "SFT + DPO")


def dialogue(row: int, question: str, chosen: str, rejected: str) -> Text:
    prompt = f"\n\nHuman: {question}\n\nAssistant:"
    return Text(row, prompt, [("user", question)], [chosen, rejected], [(0, 1)])


def dialogues(count: int) -> list[Text]:
    """Of random words; they stand in every second row of the data."""
    random = np.random.default_rng(1)
    words = ["the", "a", "road", "town", "market", "bread", "answer", "perhaps", "never", "kind"]

    def said(length: int) -> str:
        return " ".join(random.choice(words, length))

    return [dialogue(2 * i, f"number {i} {said(60)}", said(80), said(80)) for i in range(count)]


def index_of(texts: Sequence[Text]) -> Index:
    first = np.cumsum([0, *(len(text.responses) for text in texts)])
    pairs = [
        (start + a, start + b)
        for start, text in zip(first.tolist(), texts, strict=False)
        for a, b in text.pairs
    ]
    found = naive.make_index([len(text.responses) for text in texts], pairs)
    return replace(found, rows=np.array([text.row for text in texts]))


def examples_of(texts: Sequence[Text]) -> Examples:
    """A token each of prompts and responses."""
    found = naive.make_examples([([1], [[2]] * len(text.responses)) for text in texts], 8, [])
    return replace(found, index=index_of(texts))


def scores_of(texts: Sequence[Text]) -> dict[str, Scores]:
    """Means over tokens are normal; chosen ones lie 0, 0.2 and 0.4 higher, by model."""
    random, index = np.random.default_rng(0), index_of(texts)
    tokens = random.integers(5, 90, len(index.prompt_of))
    scores = {}
    for number, name in enumerate(NAMES):
        means = random.normal(-2, 0.6, len(tokens))
        means[index.pairs[:, 0]] += 0.2 * number
        scores[name] = Scores(index, means * tokens, tokens)
    return scores


def results_of(
    place: Path,
    texts: Sequence[Text],
    scores: dict[str, Scores] | None = None,
    settings: Params | None = None,
) -> figures.Results:
    """What there is to show of DPO, with curves below `place`."""
    return figures.Results(
        settings or params("fp32", "cpu"),
        "DPO",
        scores or scores_of(texts),
        texts,
        (place / "sft", place / "train"),
    )
