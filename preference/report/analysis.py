"""What lies behind the means: accuracy by kind of pair, calibration, distributions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from preference.core.errors import InputError
from preference.core.params import Train
from preference.evaluation.statistics import mean_interval, share_interval
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
    ranges = list(zip([b + 1 for b in borders], [*borders[1:], None], strict=True))
    groups = [(f"{_span(low, high)} shorter", -1, low, high) for low, high in reversed(ranges)]
    groups += [("equal", 0, 0, 0)]
    groups += [(f"{_span(low, high)} longer", 1, low, high) for low, high in ranges]
    found = []
    for label, sign, low, high in groups:
        size = np.abs(difference)
        inside = (np.sign(difference) == sign) & (size >= low)
        if high is not None:
            inside &= size <= high
        if inside.any():
            found.append((label, inside))
    return found


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+"
    return str(low) if low == high else f"{low} to {high}"


def turn_groups(turns: np.ndarray, most: int = 6) -> list[tuple[str, np.ndarray]]:
    """Pairs by the number of the human's turns in the prompt; the last group takes the rest."""
    groups = [(str(n), turns == n) for n in range(int(turns.min(initial=0)), most)]
    groups.append((f"{most}+", turns >= most))
    return [(label, inside) for label, inside in groups if inside.any()]


def by_group(groups: Sequence[tuple[str, np.ndarray]], hits: np.ndarray) -> list[Point]:
    """The share of hits in each group."""
    return [share(label, hits[inside]) for label, inside in groups]


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


def histogram(values: dict[str, np.ndarray], bins: int = 40) -> list[dict[str, float | str]]:
    """Shares of pairs by value, with the same borders for all; the outermost 0.5% go to the ends.

    Returns:
        Rows of `model`, `from`, `to`, `share`.
    """
    together = np.concatenate(list(values.values()))
    low, high = np.quantile(together, [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    rows: list[dict[str, float | str]] = []
    for model, found in values.items():
        counts, _ = np.histogram(np.clip(found, low, high), edges)
        rows += [
            {"model": model, "from": float(a), "to": float(b), "share": count / len(found)}
            for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    return rows


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


def thinned(curve: list[tuple[float, float]], most: int) -> Iterator[tuple[float, float]]:
    """A curve of at most so many points: means over neighbours."""
    if not curve:
        return
    for part in np.array_split(np.array(curve), min(most, len(curve))):
        x, y = part.mean(axis=0)
        yield float(x), float(y)
