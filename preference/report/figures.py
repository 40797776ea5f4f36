"""Which charts the report has; what to look for in them stands in the page's template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from preference.core.params import Params
from preference.evaluation import labelled
from preference.report import analysis, charts, comparison, groups
from preference.report.axes import Axis, share
from preference.report.markdown import METRICS, interval, number
from preference.store.scores import Scores, mean, pair_margins, rewards
from preference.store.texts import Text

POINTS = 150  # of a curve by step
CHANCE = (0.5, "chance")
# Not those of the models; of chosen and rejected, or desirable and undesirable responses.
SIDES = (charts.GREEN, charts.PURPLE)


@dataclass(frozen=True)
class Figure:
    caption: str
    spec: charts.Spec


@dataclass(frozen=True)
class Results:
    """What there is to show.

    Attributes:
        objective: what it is called.
        scores: of the test responses by model, from the first to the last: baseline, SFT, policy.
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
    def pairs(self) -> int:
        """How many test pairs there are."""
        return len(next(iter(self.scores.values())).index.pairs)

    @property
    def margins(self) -> dict[str, np.ndarray]:
        return {name: pair_margins(found, self.normalize) for name, found in self.scores.items()}


def overview(results: Results) -> str:
    """Accuracy by model and, where there are epochs, by epoch, as one image; else the AUC."""
    by_epoch = [figure.spec for figure in _epochs(results, "pair_acc")]
    return charts.image(charts.beside(_accuracy(results), *by_epoch))


def figures(results: Results) -> dict[str, list[Figure]]:
    """All charts, by section of the page, which says what each is for.

    Without test pairs, sections that have no charts then are left out.
    """
    found = {
        "progress": [figure for metric in METRICS for figure in _epochs(results, metric)],
        "training": _training(results),
    }
    if results.pairs:
        found |= {
            "margins": [Figure("Chosen minus rejected", _distribution(results))],
            "bias": _kinds(results),
            "calibration": _calibration(results),
        }
    found["deviation"] = _deviation(results)
    return {section: drawn for section, drawn in found.items() if drawn or results.pairs}


def _accuracy(results: Results) -> charts.Spec:
    metric = "pair_acc" if results.pairs else "auc"
    if results.pairs:
        found = {name: [analysis.share(name, m > 0)] for name, m in results.margins.items()}
    else:
        found = {
            name: [analysis.auc(name, labelled.sides(scores, results.normalize))]
            for name, scores in results.scores.items()
        }
    return charts.points(found, Axis(""), share(metric), results.colours, level=CHANCE)


def _epochs(results: Results, metric: str) -> list[Figure]:
    base, tuned, last = results.scores
    sft, train = results.curves
    split, baseline = results.settings.train.evaluate, results.margins[base]
    # The baseline, and how many pairs there are, is only known of the test pairs.
    pairs = len(baseline) if split == "test" else None
    value = mean(baseline > 0 if metric == "pair_acc" else baseline)
    # SFT's curves have both ways of scoring, since which one counts is no choice of that stage.
    suffix = "" if results.normalize else "_sum"
    first = analysis.read_estimates(sft, metric, suffix, pairs)
    # The policy's curve goes on where that of SFT ends.
    start = float(first[-1].at) if first else 0
    second = [
        replace(point, at=float(point.at) + start)
        for point in analysis.read_estimates(train, metric, pairs=pairs)
    ]
    if not first + second:
        return []
    axis = share(metric) if metric == "pair_acc" else Axis(f"{metric}, {results.unit}", (0.0,))
    spec = charts.points(
        {tuned: first, last: second},
        Axis("epoch"),
        axis,
        results.colours,
        level=(value, "baseline") if pairs else None,
        joined=True,
    )
    return [Figure(f"{split.capitalize()} {metric} by epoch", spec)]


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
    found = []
    for title, axis, kinds in (
        (
            "By how much longer the chosen response is",
            "tokens, against the rejected response",
            groups.by_length(longer),
        ),
        ("By the human's turns", "turns", groups.by_turns(turns)),
        ("By source", "source", groups.by_source(scores.index.by_source())),
    ):
        if kinds.kinds:
            shares = {
                name: [analysis.share(label, margins[inside] > 0) for label, inside in kinds.kinds]
                for name, margins in results.margins.items()
            }
            spec = charts.points(
                shares, Axis(axis), share("pair_acc"), results.colours, level=CHANCE
            )
            found.append(Figure("; ".join(filter(None, [title, kinds.note])), spec))
    return found


def _calibration(results: Results) -> list[Figure]:
    _, reference, policy = results.scores
    found = []
    logits = analysis.preference_logits(
        results.scores[policy], results.scores[reference], results.settings.train, results.normalize
    )
    # Where all confidence is near 0.5, it shall look so.
    confidence = Axis("confidence", (0.5, 0.6), ends=(0.5, 1))
    for title, values in logits.items():
        points, error = analysis.calibration(values)
        spec = charts.points(
            {policy: points}, confidence, share("accuracy"), results.colours, diagonal=True
        )
        said = f"calibration error {number(error.value, 3)}"
        said += f" (95% interval {interval(error.low, error.high, 3)})"
        if len(points) == 1:
            said += ", all pairs in one group"
        elif len(points) < analysis.GROUPS:
            said += f", in {len(points)} groups of {groups.LEAST} pairs or more"
        found.append(Figure(f"sigmoid(beta x margin), {title}; {said}", spec))
    return found


def _deviation(results: Results) -> list[Figure]:
    _, reference, policy = results.scores
    index = results.scores[policy].index
    ratios = rewards(results.scores[policy], results.scores[reference], results.normalize, beta=1)
    axis, level = Axis(f"mean log-ratio, {results.unit}", holds=(0.0,)), (0.0, "reference")
    sides, values, curves = comparison.sides(index), {}, {}
    colours = dict(zip(sides, SIDES, strict=True))
    # Training's curves have one name for both kinds of sides.
    for (side, responses), name in zip(sides.items(), ("chosen", "rejected"), strict=True):
        if len(responses):
            point = analysis.mean(side, ratios[responses])
            # What a point counts are pairs.
            values[side] = [point if results.pairs else replace(point, pairs=None)]
            curves[side] = analysis.read_estimates(results.curves[1], f"{name}_log_ratio")
    spec = charts.points(values, Axis(""), axis, colours, level=level)
    figures = [Figure("After training", spec)]
    if all(curves.values()):
        spec = charts.points(curves, Axis("epoch"), axis, colours, level=level, joined=True)
        figures.insert(0, Figure("By epoch", spec))
    return figures
