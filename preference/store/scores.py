"""What a model gives the responses of a split, and what follows from it by subtraction."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from preference.store import mapped
from preference.store.index import Index, blocks, parts, said_of
from preference.store.mapped import Arrays
from preference.store.tables import GROUP_ROWS, OF_PAIRS, SCORES, extended, lists, writing

Metrics = dict[str, float]
ALL = slice(None)


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

    def of_responses(self, normalize: bool, which: np.ndarray | slice = ALL) -> np.ndarray:
        """Scores of responses, of their shape: means over tokens if `normalize`, else sums."""
        sums = self.logps[which]
        return sums / self.tokens[which] if normalize else sums

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
    """Read a table of `tables.SCORES`; its arrays cannot be written to.

    Raises:
        InputError: there is none, or it is damaged.
    """
    found = mapped.arrays(path, _parts)
    return Scores(Index.of_arrays(found), found["logps"], found["tokens"], said_of(found))


def _parts(path: Path) -> Iterator[Arrays]:
    for arrays, found in parts(path, SCORES, ["logps", "tokens"]):
        yield arrays | {name: found[name][1] for name in ("logps", "tokens")}


def write(path: Path, scores: Scores) -> None:
    """Write a table of `tables.SCORES`."""
    index = scores.index
    given = [name for name in OF_PAIRS if getattr(index, name) is not None]
    schema = extended(SCORES, given).with_metadata(scores.context)
    with writing(path, schema) as writer:
        for prompts in blocks(len(index.rows), GROUP_ROWS):
            part, responses = index.part(prompts)
            columns, counts = part.columns(), part.counts
            columns["logps"] = lists(pa.array(scores.logps[responses], pa.float64()), counts)
            columns["tokens"] = lists(pa.array(scores.tokens[responses], pa.int32()), counts)
            writer.write_table(pa.table(columns, schema=schema))
