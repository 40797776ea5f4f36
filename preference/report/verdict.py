"""Whether published results were reproduced: published values against what a run measured."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

import numpy as np
from scipy import stats

from preference.core.params import Params
from preference.core.sections import flat
from preference.evaluation.crossed import half_width
from preference.evaluation.crossed import p_value as chance_of
from preference.report import markdown, published
from preference.report.published import Published, Row, Seeds
from preference.report.render import fill

LEVEL = 0.05
POWER = 0.8
SEEDS_VARY = (
    "But where a row says how seeds vary, both runs are taken to vary so, on top of their pairs."
)
COLUMNS = (
    ("model", "left"),
    ("metric", "left"),
    ("published", "right"),
    ("measured", "right"),
    ("difference", "right"),
    ("p-value", "right"),
    ("verdict", "left"),
    ("why", "left"),
)
NOTHING_PUBLISHED = (
    "Nothing is published for this configuration, so there is nothing to compare with."
)


class Word(StrEnum):
    CONSISTENT = "consistent"
    INCONSISTENT = "not consistent"
    INCOMPARABLE = "not comparable"


@dataclass(frozen=True)
class Verdict:
    """What a run says of a published row, in its unit; the numbers are None where not comparable.

    `detectable` is the true difference that the test finds with a power of 80%.
    """

    row: Row
    word: Word
    reason: str
    measured: float | None = None
    difference: float | None = None
    p_value: float | None = None
    detectable: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What is to be said of published results; rows of cells are empty where there are none."""

    headline: str
    rows: list[list[str]] = field(default_factory=list)
    source: str = ""
    explanation: str = ""


def outcome(
    settings: Params,
    margins: Mapping[str, np.ndarray],
    titles: Mapping[str, str],
    epochs: Mapping[float, float],
) -> Outcome:
    """Compare with the results that `report.published` names.

    Args:
        margins: chosen minus rejected scores of `baseline`, `sft` and `final`, (pairs,) each.
        titles: what to call these models.
        epochs: `pair_acc` on the same pairs after each epoch of training, whole or in part.
    """
    name = settings.report.published
    if name is None:
        return Outcome(NOTHING_PUBLISHED)
    known = published.read(name)
    verdicts, titles = judge(known, settings, margins, epochs), {**titles, "delta": "delta"}
    return Outcome(
        headline(verdicts, titles),
        table(verdicts, titles, settings.report.decimals),
        known.source,
        explanation(verdicts, len(margins["final"]), known.pairs),
    )


def judge(
    published: Published,
    settings: Params,
    margins: Mapping[str, np.ndarray],
    epochs: Mapping[float, float] | None = None,
) -> list[Verdict]:
    """Test each published value, in the file's order, against what a run measured.

    Published and measured pairs count as independent samples; where they are the same pairs, the
    test errs on the side of "consistent". How trainings on the same pairs vary is a part of it
    where a row says how seeds do.

    Args:
        settings: the params of the run; a row that presupposes others is not tested.
        margins: chosen minus rejected scores of `baseline`, `sft` and `final`, (pairs,) each.
        epochs: `pair_acc` on the same pairs after each epoch of training, whole or in part.

    Raises:
        ValueError: a margin is not finite.
    """
    if not all(np.isfinite(values).all() for values in margins.values()):
        raise ValueError("margins must be finite")
    return [_verdict(row, published, settings, margins, epochs or {}) for row in published.rows]


def mean_test(
    difference: float,
    spread: float,
    pairs: int,
    published_pairs: int,
    freedom: float,
    seeds: Seeds | None = None,
) -> tuple[float, float | None]:
    """The t-test of two means whose values have one standard deviation, known to `freedom`.

    Of seeds that vary both runs had one, which adds twice their variance; see `half_width`.

    Returns the two-sided p-value, and the true difference that is found with a power of 80%,
    within 0.2% from 10 degrees of freedom on. Without spread any difference is certain.
    """
    error = spread * math.sqrt(1 / pairs + 1 / published_pairs)
    if seeds and seeds.spread:
        parts = [(error**2, freedom), (2 * seeds.spread**2, seeds.count - 1)]
        reach = half_width(parts, LEVEL) + half_width(parts, 2 * (1 - POWER))
        return chance_of(difference, parts), float(reach)
    if error == 0:
        return (0.0 if difference else 1.0), None
    return float(2 * stats.t.sf(abs(difference) / error, freedom)), _reach(freedom) * error


def share_test(
    hits: int,
    pairs: int,
    published_hits: int,
    published_pairs: int,
    seeds: Seeds | None = None,
) -> tuple[float, float | None]:
    """The pooled z-test of two shares, an approximation for some five hits and misses or more."""
    share = (hits + published_hits) / (pairs + published_pairs)
    difference = hits / pairs - published_hits / published_pairs
    spread = math.sqrt(share * (1 - share))
    return mean_test(difference, spread, pairs, published_pairs, math.inf, seeds)


def headline(verdicts: Sequence[Verdict], titles: Mapping[str, str]) -> str:
    """What the verdicts say together, in a sentence for people; `titles` is what to call models."""
    agree, differ, rest = (
        [f"{titles[v.row.model]} {v.row.name}" for v in verdicts if v.word == word] for word in Word
    )
    if not agree + differ:
        return (
            f"None of the {len(rest)} published values is comparable with this run, so nothing was "
            "tested and nothing can be said of their reproduction; the table says why."
        )
    failed = f" ({', '.join(differ)})" if differ else ""
    return (
        f"Consistent with the published values: {len(agree)} of {len(agree + differ)} comparable "
        f"rows. Not consistent: {len(differ)}{failed}. Not comparable, as the table explains: "
        f"{len(rest)}."
    )


def explanation(verdicts: Sequence[Verdict], pairs: int, published_pairs: int) -> str:
    """What was tested, and what the words mean; empty where nothing was tested."""
    if all(v.word == Word.INCOMPARABLE for v in verdicts):
        return ""
    text = fill("verdict.txt", level=f"{LEVEL:.0%}", pairs=pairs, published_pairs=published_pairs)
    vary = any(v.row.seeds for v in verdicts if v.word != Word.INCOMPARABLE)
    return " ".join([*text.split(), *([SEEDS_VARY] if vary else [])])


def table(verdicts: Sequence[Verdict], titles: Mapping[str, str], decimals: int) -> list[list[str]]:
    """Rows by `COLUMNS`: each value that was tested, then the others by what stands in the way."""
    tested = [cells(v, titles, decimals) for v in verdicts if v.word != Word.INCOMPARABLE]
    others: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.word == Word.INCOMPARABLE:
            others.setdefault(verdict.reason, []).append(verdict)
    for alike in others.values():
        first, *more = cells(alike[0], titles, decimals)
        if len(alike) > 1:
            first = ", ".join(dict.fromkeys(titles[verdict.row.model] for verdict in alike))
            more[:2] = [f"{len(alike)} values", ""]
        tested.append([first, *more])
    return tested


def cells(verdict: Verdict, titles: Mapping[str, str], decimals: int) -> list[str]:
    """A row of the table, by `COLUMNS`; the published value has its own digits."""
    row = verdict.row
    return [
        titles[row.model],
        row.name,
        row.value,
        markdown.number(verdict.measured, decimals, signed=row.model == "delta"),
        markdown.number(verdict.difference, decimals, signed=True),
        markdown.p_value(verdict.p_value),
        verdict.word,
        verdict.reason,
    ]


def _verdict(
    row: Row,
    published: Published,
    settings: Params,
    margins: Mapping[str, np.ndarray],
    epochs: Mapping[float, float],
) -> Verdict:
    value, pairs = float(row.value), published.pairs
    here = dict(flat(settings))
    differing = [
        f"{key} is {json.dumps(here[key])} here, {json.dumps(there)} there"
        for key, there in {**published.settings, **row.settings}.items()
        if here[key] != there
    ]
    if differing:
        return Verdict(row, Word.INCOMPARABLE, "; ".join(differing))
    if row.epoch and row.epoch not in epochs:
        reason = f"the curves of this run have no epoch {row.epoch}"
        return Verdict(row, Word.INCOMPARABLE, reason)
    sample = {name: m > 0 if row.metric == "pair_acc" else m for name, m in margins.items()}
    values = sample["final" if row.model == "delta" else row.model].astype(float)
    if row.model == "delta":
        values -= sample["baseline"]
    n = len(values)
    if n < 2:
        reason = "fewer than two measured pairs cannot tell how much pairs differ"
        return Verdict(row, Word.INCOMPARABLE, reason)
    if row.epoch:
        values = np.arange(n) < round(epochs[row.epoch] * n)
    measured = float(values.mean())
    difference = measured - value
    if row.metric == "pair_acc" and row.model != "delta":
        counts = int(values.sum()), n, round(value * pairs), pairs
        chance, findable = share_test(*counts, row.seeds)
    else:
        # Of equal values, the computed spread need not be exactly 0.
        spread = float(np.std(values, ddof=1)) if np.ptp(values) else 0.0
        # What the published value's rounding explains is no difference.
        rounding = 0.5 * 10.0 ** -len(row.value.partition(".")[2])
        tested = difference if abs(difference) > rounding else 0.0
        chance, findable = mean_test(tested, spread, n, pairs, n - 1, row.seeds)
    word = Word.CONSISTENT if chance >= LEVEL else Word.INCONSISTENT
    if findable is None:
        reason = f"every measured pair has the same value, {'' if chance else 'not '}as published"
    elif word == Word.CONSISTENT:
        reason = f"a true difference of {findable:.2g} would be found in {POWER:.0%} of cases"
    else:
        reason = f"samples of one population differ by as much in under {LEVEL:.0%} of cases"
    if row.seeds:
        known = f"{row.seeds.spread:.2g} from seed to seed, as {row.seeds.count} seeds showed"
        reason += f"; runs are taken to vary by {known}"
    return Verdict(row, word, reason, measured, difference, chance, findable)


@cache
def _reach(freedom: float) -> float:
    """The detectable difference in standard errors."""
    return float(stats.t.isf(LEVEL / 2, freedom) + stats.t.ppf(POWER, freedom))
