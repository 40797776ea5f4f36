"""What lies behind the means: accuracy by kind of pair, calibration, distributions."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import expit

from preference.core.errors import InputError
from preference.core.params import Train
from preference.evaluation.intervals import CONFIDENCE, mean_interval, share_interval
from preference.evaluation.labelled import Sides, metrics
from preference.report.groups import LEAST
from preference.store.scores import Scores, pair_margins, rewards

RESAMPLES = 500
GROUPS = 10  # of pairs, by confidence


@dataclass(frozen=True)
class Point:
    """A value with its 95% interval over so many pairs; `at` is where it stands on the x axis.

    The ends are NaN where they are not known, `pairs` is None where it is not.
    """

    at: float | str
    value: float
    low: float
    high: float
    pairs: int | None


def share(at: float | str, hits: np.ndarray) -> Point:
    """The share of (pairs,) booleans that are true."""
    interval = share_interval(hits)
    return Point(at, float(hits.mean()), interval.low, interval.high, len(hits))


def mean(at: float | str, values: np.ndarray) -> Point:
    """The mean of (pairs,) values."""
    interval = mean_interval(values)
    return Point(at, float(values.mean()), interval.low, interval.high, len(values))


def auc(at: float | str, sides: Sides) -> Point:
    """The AUC of scores of desirable and undesirable responses."""
    found = metrics(*sides)
    return Point(at, found["auc"], found["auc_low"], found["auc_high"], None)


def calibration(
    logits: np.ndarray, groups: int = GROUPS, least: int = LEAST
) -> tuple[list[Point], Point]:
    """How often a model is right where it says that it is so sure.

    Its confidence is that of the response which it prefers, so between 0.5 and 1.

    Args:
        logits: log-odds that the model gives to the chosen response, (pairs,).
        groups: of equal size, from the least to the most confident.
        least: pairs of a group; where there are too few for that, there are fewer groups.

    Returns:
        Accuracy by mean confidence of each group, and the expected calibration error: the mean
        distance of the two over all pairs (Guo et al. 2017, with groups of equal size).
    """
    order = np.argsort(np.abs(logits), kind="stable")
    confidence, hits = expit(np.abs(logits[order])), logits[order] > 0
    groups = max(1, min(groups, len(logits) // least))
    points = [
        share(float(confidence[part].mean()), hits[part])
        for part in np.array_split(np.arange(len(logits)), groups)
    ]
    error = float(_distance(hits - confidence, groups))
    low, high = _error_interval(confidence, hits, groups, error)
    return points, Point("", error, low, high, len(logits))


def _distance(gaps: np.ndarray, groups: int) -> np.ndarray:
    """The calibration error, (...,), of hits minus confidence, (..., pairs), by confidence."""
    parts = np.array_split(gaps, groups, axis=-1)
    return np.sum([np.abs(part.sum(axis=-1)) for part in parts], axis=0) / gaps.shape[-1]


def _error_interval(
    confidence: np.ndarray, hits: np.ndarray, groups: int, error: float
) -> tuple[float, float]:
    """A 95% interval of the calibration error, from the pairs in the order of confidence.

    Chance moves each group away from the dashed line, so the error of a sample lies above the true
    one, and that of a sample of the sample once more. The basic bootstrap takes that back, where
    the percentiles would double it. A true error of 0 is at the edge, where no bootstrap is right:
    it is in the interval if a calibrated model errs by as much in more than 5% of samples.
    """
    if len(hits) < 2:
        return math.nan, math.nan

    def statistic(confidence: np.ndarray, hits: np.ndarray, axis: int) -> np.ndarray:
        order = np.argsort(confidence, axis=axis, kind="stable")
        return _distance(np.take_along_axis(hits - confidence, order, axis), groups)

    found = stats.bootstrap(
        (confidence, hits.astype(float)),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=10,
        method="basic",
        rng=np.random.default_rng(0),
    ).confidence_interval
    random = np.random.default_rng(1)
    calibrated = [
        _distance((random.random(len(hits)) < confidence) - confidence, groups)
        for _ in range(RESAMPLES)
    ]
    by_chance = error <= np.quantile(calibrated, CONFIDENCE)
    return 0.0 if by_chance else max(0.0, float(found.low)), max(error, float(found.high))


def preference_logits(
    policy: Scores, reference: Scores, settings: Train, normalize: bool
) -> dict[str, np.ndarray]:
    """Log-odds of the chosen response, (pairs,): with the reference, and of the policy alone.

    With it: the probability under DPO's model of preferences, sigmoid(r_chosen - r_rejected)
    (Rafailov et al. 2023, equation 6).
    """
    reward = rewards(policy, reference, normalize, settings.beta)
    return {
        "against the reference": np.subtract(*reward[policy.index.pairs].T),
        "policy alone": settings.beta * pair_margins(policy, normalize),
    }


def histograms(values: dict[str, np.ndarray], bins: int = 40) -> dict[str, list[dict[str, float]]]:
    """Shares of pairs by value, with the same borders for all; the outermost 0.5% go to the ends.

    Returns:
        Rows of `from`, `to`, `share` by model.
    """
    together = np.concatenate(list(values.values()))
    low, high = np.quantile(together, [0.005, 0.995])
    found = {}
    for model, own in values.items():
        counts, edges = np.histogram(np.clip(own, low, high), bins, (low, high))
        bars = zip(edges[:-1].tolist(), edges[1:].tolist(), counts / len(own), strict=True)
        found[model] = [{"from": a, "to": b, "share": float(share)} for a, b, share in bars]
    return found


def read_curve(directory: Path, axis: str, metric: str) -> list[tuple[float, float]]:
    """A curve as training wrote it: (step or epoch, value); empty where there is none.

    Args:
        directory: curves of a stage.
        axis: `steps` or `epochs`.
    """
    file = directory / axis / "plots" / "metrics" / f"{metric}.tsv"
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[1:]
        return [(float(x), float(y)) for x, y in (line.split("\t") for line in lines)]
    except ValueError as error:
        raise InputError(f"{file}: not a curve ({error}); run dvc repro") from None


def read_estimates(
    directory: Path, metric: str, suffix: str = "", pairs: int | None = None
) -> list[Point]:
    """A metric by epoch with its intervals, as training wrote them; empty where there is none.

    Without epochs of which it is NaN: a metric of pairs, of data that have none.

    Args:
        directory: curves of a stage.
        suffix: of the metric's name and of those of its ends.
        pairs: how many it is over.
    """
    values, lows, highs = (
        dict(read_curve(directory, "epochs", f"{metric}{end}{suffix}"))
        for end in ("", "_low", "_high")
    )
    return [
        Point(epoch, value, lows.get(epoch, math.nan), highs.get(epoch, math.nan), pairs)
        for epoch, value in values.items()
        if not math.isnan(value)
    ]


def thinned(curve: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """A curve of at most so many points: means over neighbours."""
    parts = np.array_split(np.array(curve), min(most, len(curve))) if curve else []
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
