"""What a model gives the responses of a split, and what follows from it by subtraction."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from preference.store.examples import Index
from preference.store.tables import SCORES, extended, lists, read_flat, writing

Metrics = dict[str, float]


@dataclass(frozen=True)
class Scores:
    """What one model gives the responses of one split.

    Attributes:
        logps: (responses,); sums over tokens in nats.
        tokens: (responses,); how many tokens each sum is over.
        context: what they were computed with (device, precision).
    """

    index: Index
    logps: np.ndarray
    tokens: np.ndarray
    context: dict[str, str] = field(default_factory=dict)

    def of_responses(self, normalize: bool) -> np.ndarray:
        """The responses' scores, (responses,): means over tokens if `normalize`, else sums."""
        return self.logps / self.tokens if normalize else self.logps

    def of_pairs(self, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
        """The scores of chosen and rejected, (pairs,) each."""
        chosen, rejected = self.of_responses(normalize)[self.index.pairs].T
        return chosen, rejected


def pair_margins(scores: Scores, normalize: bool) -> np.ndarray:
    """Chosen minus rejected, (pairs,)."""
    return np.subtract(*scores.of_pairs(normalize))


def rewards(policy: Scores, reference: Scores, normalize: bool, beta: float) -> np.ndarray:
    """Implicit rewards beta x (policy - reference), (responses,)."""
    if not policy.index.same_as(reference.index):
        raise ValueError("policy and reference scores are of different responses")
    return beta * (policy.of_responses(normalize) - reference.of_responses(normalize))


def log_ratios(policy: Scores, reference: Scores, normalize: bool) -> Metrics:
    """Mean log-ratio of policy to reference, in nats, of chosen and of rejected responses.

    Training that pushes both down shows here: the margin alone may grow all the same. Labelled
    responses in no pair count as chosen where they are desirable, else as rejected.
    """
    ratios = rewards(policy, reference, normalize, beta=1)
    sides = zip(("chosen", "rejected"), policy.index.by_label(), strict=True)
    return {f"{side}_log_ratio": mean(ratios[which]) for side, which in sides}


def mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The mean of some values, weighted where there are weights; NaN of none."""
    if weights is not None and weights.sum() > 0:
        return float(np.average(values, weights=weights))
    return float(np.mean(values)) if len(values) else float("nan")


def read(path: Path) -> Scores:
    """Read a table of `tables.SCORES`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    found, context = read_flat(path, SCORES, SCORES.names)
    return Scores(Index.of_columns(found), found["logps"][1], found["tokens"][1], context)


def write(path: Path, scores: Scores) -> None:
    """Write a table of `tables.SCORES`."""
    columns, counts = scores.index.columns(), scores.index.counts
    schema = extended(SCORES, columns).with_metadata(scores.context)
    columns["logps"] = lists(pa.array(scores.logps, pa.float64()), counts)
    columns["tokens"] = lists(pa.array(scores.tokens, pa.int32()), counts)
    with writing(path, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
