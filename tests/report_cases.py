"""Made-up models over made-up test pairs, for tests of the report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
from settings import params

from preference.core.params import Params
from preference.report import comparison, figures, length, page, verdict
from preference.report.health import Health
from preference.report.results import rows
from preference.report.verdict import Outcome
from preference.store.examples import Examples
from preference.store.index import Index
from preference.store.scores import Scores
from preference.store.texts import Text

NAMES = ("baseline", "SFT", "SFT + DPO")
MARKUP = (
    "<img src=x onerror=\"document.title='broken in'\"><script>alert(1)</script>{{ 7 * 7 }}"
    "</script>&amp;"
)


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


def labelled(count: int) -> list[Text]:
    """One response to each prompt, in no pair; of `index_of` every second one is desirable."""
    return [replace(text, responses=text.responses[:1], pairs=[]) for text in dialogues(count)]


def index_of(texts: Sequence[Text]) -> Index:
    first = np.cumsum([0, *(len(text.responses) for text in texts)])
    pairs = [
        (start + a, start + b)
        for start, text in zip(first.tolist(), texts, strict=False)
        for a, b in text.pairs
    ]
    found = naive.make_index([len(text.responses) for text in texts], pairs)
    if not pairs:
        found.labels[:] = np.arange(len(found.labels)) % 2
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
        means[next(iter(comparison.sides(index).values()))] += 0.2 * number
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


def write_curve(place: Path, stage: str, axis: str, metric: str, values: list[float]) -> None:
    """A curve as training writes it."""
    directory = place / stage / axis / "plots" / "metrics"
    directory.mkdir(parents=True, exist_ok=True)
    first = 0 if axis == "epochs" else 1
    lines = [f"{step}\t{value}" for step, value in enumerate(values, first)]
    (directory / f"{metric}.tsv").write_text("\n".join([f"step\t{metric}", *lines]) + "\n")


def write_estimates(place: Path, stage: str, metric: str, values: list[float], half: float) -> None:
    """A curve by epoch with its intervals, which reach as far to both sides."""
    for end, side in (("", 0), ("_low", -1), ("_high", 1)):
        found = [value + side * half for value in values]
        write_curve(place, stage, "epochs", f"{metric}{end}", found)


def write_curves(place: Path) -> None:
    """All that training writes and the report shows."""
    for stage, accuracies in (("sft", [0.48, 0.55]), ("train", [0.55, 0.6, 0.7, 0.69])):
        write_estimates(place, stage, "pair_acc", accuracies, 0.03)
        write_estimates(place, stage, "margin", [a - 0.5 for a in accuracies], 0.01)
        for metric in ("loss", "grad_norm"):
            write_curve(place, stage, "steps", metric, [1000 / step for step in range(1, 1200)])
    write_estimates(place, "train", "chosen_log_ratio", [0.0, -0.5, -1.25, -1.5], 0.1)
    write_estimates(place, "train", "rejected_log_ratio", [0.0, -0.75, -1.5, -2.5], 0.1)


def write_page(
    place: Path,
    texts: list[Text],
    outcome: Outcome | None = None,
    prepared: Examples | None = None,
    health: Health | None = None,
    scores: dict[str, Scores] | None = None,
) -> Path:
    """The page of made-up models over these pairs, with the curves below `place`."""
    shown = results_of(place, texts, scores)
    compared = comparison.compare(shown.scores[NAMES[0]], shown.scores[NAMES[2]], normalize=True)
    metrics = {
        name: {f"{m}{end}": 0.5 for m in compared for end in ("", "_low", "_high")}
        for name in NAMES
    }
    counts = {"train": {"chosen_longer": 2, "rejected_longer": 1}}
    lengths = length.rows(shown.scores, counts, normalize=True, decimals=4)
    file = place / "report.html"
    file.write_text(
        page.render(
            shown,
            figures.figures(shown),
            rows(metrics, {"SFT + DPO - baseline": compared}, 4, lengths),
            outcome or Outcome(verdict.NOTHING_PUBLISHED),
            health or Health("Learned", "", []),
            prepared or examples_of(texts),
            answers=[
                {
                    "question": MARKUP,
                    "prompt": MARKUP,
                    "texts": [(name, MARKUP) for name in NAMES],
                }
            ],
        )
    )
    return file
