"""Which charts the report has; what to look for in them stands in the page's template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preference.core.params import Params
from preference.report import analysis, charts
from preference.report.markdown import METRICS
from preference.store.scores import Scores, pair_margins, rewards
from preference.store.texts import Text

POINTS = 150  # of a curve by step
CHANCE = (0.5, "chance")
SIDES = {"chosen": charts.BLUE, "rejected": charts.ORANGE}


@dataclass(frozen=True)
class Figure:
    caption: str
    spec: charts.Spec


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
    def colours(self) -> charts.Colours:
        return dict(zip(self.scores, (charts.GREY, charts.BLUE, charts.ORANGE), strict=True))

    @property
    def margins(self) -> dict[str, np.ndarray]:
        return {name: pair_margins(found, self.normalize) for name, found in self.scores.items()}


def overview(results: Results) -> str:
    """Accuracy by model and by epoch, as one image."""
    return charts.image(charts.beside(_accuracy(results), _epochs(results, "pair_acc")))


def figures(results: Results) -> dict[str, list[Figure]]:
    """All charts, by section of the page, which says what each is for."""
    return {
        "progress": [
            Figure(
                f"{results.settings.train.evaluate.capitalize()} {m} by epoch", _epochs(results, m)
            )
            for m in METRICS
        ],
        "training": _training(results),
        "margins": [Figure("Chosen minus rejected", _distribution(results))],
        "bias": _kinds(results),
        "calibration": _calibration(results),
        "deviation": _deviation(results),
    }


def _accuracy(results: Results) -> charts.Spec:
    found = {name: [analysis.share(name, m > 0)] for name, m in results.margins.items()}
    return charts.points(found, "", "pair_acc", results.colours, level=CHANCE)


def _epochs(results: Results, metric: str) -> charts.Spec:
    base, tuned, last = results.scores
    sft, train = results.curves
    # SFT's curves have both ways of scoring, since which one counts is no choice of that stage.
    first = analysis.read_curve(sft, "epochs", metric if results.normalize else f"{metric}_sum")
    second = analysis.read_curve(train, "epochs", metric)
    # The policy's curve goes on where that of SFT ends.
    start = first[-1][0] if first else 0
    series = {tuned: first, last: [(x + start, y) for x, y in second]}
    baseline = results.margins[base]
    value = float((baseline > 0).mean() if metric == "pair_acc" else baseline.mean())
    # The baseline is only known of the test pairs.
    level = (value, "baseline") if results.settings.train.evaluate == "test" else None
    return charts.lines(series, "epoch", metric, results.colours, level=level, marks=True)


def _training(results: Results) -> list[Figure]:
    found = []
    _, *trained = results.scores
    for metric, title in (("loss", "loss"), ("grad_norm", "gradient norm")):
        for stage, place in zip(trained, results.curves, strict=True):
            curve = analysis.read_curve(place, "steps", metric)
            if curve:
                name = "SFT" if place == results.curves[0] else results.objective
                steps = math.ceil(len(curve) / POINTS)
                means = f", means of {steps} steps" if steps > 1 else ""
                thinned = analysis.thinned(curve, POINTS)
                spec = charts.lines({stage: thinned}, "step", title, results.colours)
                found.append(Figure(f"{name}: {title}{means}", spec))
    return found


def _distribution(results: Results) -> charts.Spec:
    found = analysis.histograms(results.margins)
    return charts.distribution(found, f"margin, {results.unit}", results.colours)


def _kinds(results: Results) -> list[Figure]:
    scores = next(iter(results.scores.values()))
    longer = np.subtract(*scores.tokens[scores.index.pairs].T)
    turns = np.array([len(text.questions) for text in results.texts for _ in text.pairs])

    def accuracy(axis: str, groups: Sequence[tuple[str, np.ndarray]]) -> charts.Spec:
        found = {
            name: [analysis.share(label, margins[inside] > 0) for label, inside in groups]
            for name, margins in results.margins.items()
        }
        return charts.points(found, axis, "pair_acc", results.colours, level=CHANCE)

    by_length = accuracy("tokens, against the rejected response", analysis.length_groups(longer))
    by_turns = accuracy("turns", analysis.turn_groups(turns))
    found = [
        Figure("By how much longer the chosen response is", by_length),
        Figure("By the human's turns", by_turns),
    ]
    if sources := [(t, inside) for t, inside in scores.index.by_source().items() if inside.any()]:
        found.append(Figure("By source", accuracy("source", sources)))
    return found


def _calibration(results: Results) -> list[Figure]:
    _, reference, policy = results.scores
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
        found.append(Figure(caption, spec))
    return found


def _deviation(results: Results) -> list[Figure]:
    _, reference, policy = results.scores
    scores = results.scores[policy]
    ratios = rewards(scores, results.scores[reference], results.normalize, beta=1)
    title = f"mean log-ratio, {results.unit}"
    sides = zip(SIDES, ratios[scores.index.pairs].T, strict=True)
    values = {side: [analysis.mean(side, ratio)] for side, ratio in sides}
    reached = charts.points(values, "", title, SIDES, level=(0, "reference"))
    figures = [Figure("After training", reached)]
    curves = {
        side: analysis.read_curve(results.curves[1], "epochs", f"{side}_log_ratio")
        for side in SIDES
    }
    if all(curves.values()):
        spec = charts.lines(curves, "epoch", title, SIDES, level=(0, "reference"), marks=True)
        figures.insert(0, Figure("By epoch", spec))
    return figures
