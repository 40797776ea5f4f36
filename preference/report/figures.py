"""Which charts the report has, in which order, and what each of them is for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preference.core.params import Params
from preference.report import analysis, charts
from preference.store.scores import Scores, pair_margins, rewards
from preference.store.texts import Text

# Metrics by epoch that have a chart, if training wrote them.
FOLLOWED = ("pair_acc", "margin")
POINTS = 150  # of a curve by step
SIDES = {"chosen": charts.BLUE, "rejected": charts.ORANGE}


@dataclass(frozen=True)
class Figure:
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    text: str
    figures: list[Figure]


@dataclass(frozen=True)
class Results:
    """What there is to show.

    Attributes:
        objective: what it is called.
        scores: of the test pairs by model, from the first to the last: baseline, SFT, policy.
        texts: of the prompts of the test split, in its order.
        curves: directories of SFT's and of training's curves.
    """

    settings: Params
    objective: str
    scores: Mapping[str, Scores]
    texts: Sequence[Text]
    curves: tuple[Path, Path]

    @property
    def normalize(self) -> bool:
        return self.settings.scoring.length_normalize

    @property
    def unit(self) -> str:
        return "nats a token" if self.normalize else "nats"

    @property
    def names(self) -> list[str]:
        return list(self.scores)

    @property
    def colours(self) -> charts.Colours:
        return dict(zip(self.scores, (charts.GREY, charts.BLUE, charts.ORANGE), strict=True))

    @property
    def margins(self) -> dict[str, np.ndarray]:
        return {name: pair_margins(found, self.normalize) for name, found in self.scores.items()}


def overview(results: Results) -> str:
    """Accuracy by model and by epoch, as one image."""
    return charts.image(charts.beside(_accuracy(results), _epochs(results, "pair_acc")))


def sections(results: Results) -> list[Section]:
    """All charts, drawn."""
    return [
        Section(
            "progress",
            "By epoch",
            "The test pairs after every epoch: SFT first, then training, which begins where SFT "
            "ended. The dashed line is the baseline. Where a curve turns down by more than the "
            "intervals above, fewer epochs would have done.",
            [Figure(f"Test {m} by epoch", charts.svg(_epochs(results, m))) for m in FOLLOWED],
        ),
        Section(
            "training",
            "Training",
            "Loss, and the gradient's norm before clipping, by optimizer step; of many steps the "
            "means of neighbours, which hide single peaks.",
            _training(results),
        ),
        Section(
            "margins",
            "Margins",
            "Pairs to the right of the dashed line are told apart rightly. Training should move "
            "the whole, and not stretch a few pairs far out.",
            [Figure("Chosen minus rejected", charts.svg(_distribution(results)))],
        ),
        Section(
            "bias",
            "Kinds of pairs",
            "Accuracy by which response is longer, and by length of the dialogue. A model that "
            "has learnt only to like long (or short) answers is good at one end and bad at the "
            "other.",
            _kinds(results),
        ),
        Section(
            "calibration",
            "Calibration",
            "How often the policy is right where it says that it is so sure. Below the dashed line "
            "it is too sure of itself.",
            _calibration(results),
        ),
        Section(
            "deviation",
            "Away from the reference",
            "Mean log-ratio of the model to its reference, the model after SFT. Where both lines "
            "fall, training has made the chosen responses less likely, too; a margin that grew all "
            "the same did so because the rejected ones fell further.",
            _deviation(results),
        ),
    ]


def _accuracy(results: Results) -> charts.Spec:
    found = {name: [analysis.share(name, m > 0)] for name, m in results.margins.items()}
    return charts.points(
        found, "", "pair_acc", results.colours, ordinal=True, level=(0.5, "chance")
    )


def _epochs(results: Results, metric: str) -> charts.Spec:
    _, tuned, last = results.names
    sft, train = results.curves
    # SFT's curves have both ways of scoring, since which one counts is no choice of that stage.
    first = analysis.read_curve(sft, "epochs", metric if results.normalize else f"{metric}_sum")
    second = analysis.read_curve(train, "epochs", metric)
    # The policy's curve goes on where that of SFT ends.
    start = first[-1][0] if first else 0
    series = {tuned: first, last: [(x + start, y) for x, y in second]}
    baseline = results.margins[results.names[0]]
    level = float((baseline > 0).mean() if metric == "pair_acc" else baseline.mean())
    return charts.lines(
        series, "epoch", metric, results.colours, level=(level, "baseline"), marks=True
    )


def _training(results: Results) -> list[Figure]:
    found = []
    for metric, title in (("loss", "loss"), ("grad_norm", "gradient norm")):
        for stage, place in zip(results.names[1:], results.curves, strict=True):
            curve = analysis.read_curve(place, "steps", metric)
            if curve:
                name = "SFT" if place == results.curves[0] else results.objective
                steps = math.ceil(len(curve) / POINTS)
                means = f", means of {steps} steps" if steps > 1 else ""
                curve = list(analysis.thinned(curve, POINTS))
                spec = charts.lines({stage: curve}, "step", title, results.colours)
                found.append(Figure(f"{name}: {title}{means}", charts.svg(spec)))
    return found


def _distribution(results: Results) -> charts.Spec:
    title = f"margin, {results.unit}"
    return charts.distribution(analysis.histogram(results.margins), title, results.colours)


def _kinds(results: Results) -> list[Figure]:
    scores = next(iter(results.scores.values()))
    index = scores.index
    turns = np.array([len(text.questions) for text in results.texts])[index.prompt_of]
    longer = np.subtract(*scores.tokens[index.pairs].T)
    kinds = (
        (
            "By how much longer the chosen response is",
            "tokens, against the rejected response",
            analysis.length_groups(longer),
        ),
        ("By the human's turns", "turns", analysis.turn_groups(turns[index.pairs[:, 0]])),
    )
    return [
        Figure(
            title,
            charts.svg(
                charts.points(
                    {n: analysis.by_group(groups, m > 0) for n, m in results.margins.items()},
                    axis,
                    "pair_acc",
                    results.colours,
                    ordinal=True,
                    level=(0.5, "chance"),
                )
            ),
        )
        for title, axis, groups in kinds
    ]


def _calibration(results: Results) -> list[Figure]:
    _, reference, policy = results.names
    found = []
    logits = analysis.preference_logits(
        results.scores[policy], results.scores[reference], results.settings.train, results.normalize
    )
    for title, values in logits.items():
        points, error = analysis.calibration(values)
        spec = charts.points(
            {policy: points}, "confidence", "accuracy", results.colours, diagonal=True
        )
        caption = f"sigmoid(beta x margin), {title}; calibration error {error:.3f}"
        found.append(Figure(caption, charts.svg(spec)))
    return found


def _deviation(results: Results) -> list[Figure]:
    _, reference, policy = results.names
    scores = results.scores[policy]
    ratios = rewards(scores, results.scores[reference], results.normalize, beta=1)
    title = f"mean log-ratio, {results.unit}"
    sides = zip(SIDES, ratios[scores.index.pairs].T, strict=True)
    values = {side: [analysis.mean(side, ratio)] for side, ratio in sides}
    figures = [
        Figure(
            "After training",
            charts.svg(
                charts.points(values, "", title, SIDES, ordinal=True, level=(0, "reference"))
            ),
        )
    ]
    curves = {
        side: analysis.read_curve(results.curves[1], "epochs", f"{side}_log_ratio")
        for side in SIDES
    }
    if all(curves.values()):
        spec = charts.lines(curves, "epoch", title, SIDES, level=(0, "reference"), marks=True)
        figures.insert(0, Figure("By epoch", charts.svg(spec)))
    return figures
