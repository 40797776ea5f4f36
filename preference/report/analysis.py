"""What lies behind the means: accuracy by kind of pair, calibration, distributions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from preference.core.errors import InputError
from preference.core.params import Train
from preference.evaluation.intervals import mean_interval, share_interval
from preference.store.scores import Scores, pair_margins, rewards


@dataclass(frozen=True)
class Point:
    """A value with its 95% interval over so many pairs; `at` is where it stands on the x axis."""

    at: float | str
    value: float
    low: float
    high: float
    pairs: int


def share(at: float | str, hits: np.ndarray) -> Point:
    """The share of (pairs,) booleans that are true."""
    interval = share_interval(hits)
    return Point(at, float(hits.mean()), interval.low, interval.high, len(hits))


def mean(at: float | str, values: np.ndarray) -> Point:
    """The mean of (pairs,) values."""
    interval = mean_interval(values)
    return Point(at, float(values.mean()), interval.low, interval.high, len(values))


def length_groups(difference: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Pairs by which response is longer and by how much, in up to seven groups.

    Args:
        difference: tokens of chosen minus tokens of rejected, (pairs,).

    Returns:
        A label and the (pairs,) booleans of each group that is not empty, from the chosen response
        much shorter to much longer. The borders are the terciles of the absolute difference.
    """
    sizes = np.abs(difference[difference != 0])
    thirds = np.quantile(sizes, [1 / 3, 2 / 3], method="inverted_cdf") if len(sizes) else []
    borders = sorted({0, *map(int, thirds)})
    labels = {0: "equal"}
    for place, (border, high) in enumerate(zip(borders, [*borders[1:], None], strict=True), 1):
        span = _span(border + 1, high)
        labels |= {-place: f"{span} shorter", place: f"{span} longer"}
    places = np.sign(difference) * np.searchsorted(borders, np.abs(difference))
    return [(labels[place], places == place) for place in np.unique(places).tolist()]


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+"
    return str(low) if low == high else f"{low} to {high}"


def turn_groups(turns: np.ndarray, most: int = 6) -> list[tuple[str, np.ndarray]]:
    """Pairs by the number of the human's turns in the prompt; the last group takes the rest."""
    capped = np.minimum(turns, most)
    return [(f"{n}{'+' * (n == most)}", capped == n) for n in np.unique(capped).tolist()]


def calibration(logits: np.ndarray, groups: int = 10) -> tuple[list[Point], float]:
    """How often a model is right where it says that it is so sure.

    Its confidence is that of the response which it prefers, so between 0.5 and 1.

    Args:
        logits: log-odds that the model gives to the chosen response, (pairs,).
        groups: of equal size, from the least to the most confident.

    Returns:
        Accuracy by mean confidence of each group, and the expected calibration error: the mean
        distance of the two over all pairs (Guo et al. 2017, with groups of equal size).
    """
    confidence, hits = expit(np.abs(logits)), logits > 0
    order = np.argsort(confidence, kind="stable")
    points = [
        share(float(confidence[part].mean()), hits[part])
        for part in np.array_split(order, min(groups, len(order)))
    ]
    error = sum(abs(p.value - float(p.at)) * p.pairs for p in points) / len(logits)
    return points, error


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


def thinned(curve: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """A curve of at most so many points: means over neighbours."""
    parts = np.array_split(np.array(curve), min(most, len(curve))) if curve else []
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
