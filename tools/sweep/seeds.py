"""Runs that differ in the seed, together: what to expect of a variant, and how sure that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from preference.core.errors import InputError
from preference.evaluation import crossed, labelled, power
from preference.evaluation.crossed import Crossed, Spread
from preference.report import comparison, markdown
from preference.report.analysis import Point
from preference.report.charts import Spec
from preference.store.scores import Scores
from tools.sweep import outcomes
from tools.sweep.outcomes import Outcomes
from tools.sweep.study import SEED, Study, Variant, told

SHOWN = 0.02  # the difference whose costs the table tells
SEEDS = (3, 5, 10, 20)
SHARES = ("pair_acc", labelled.METRICS[0])  # metrics that lie between 0 and 1
LEVELS = (("baseline", "baseline"), ("sft", "SFT"))
METHOD = (
    "A mean is over seeds and test data, and so is its interval: another seed would give another "
    "value, and so would other data. All seeds meet the same data, which are crossed with them "
    "(docs/experiments.md). `SD over seeds` is the standard deviation of the seeds' values; `of "
    "seeds alone` leaves out what the choice of test data adds to it."
)

Found = Mapping[int, Mapping[str, Scores]]  # by seed and model
Samples = dict[str, list[np.ndarray]]  # by metric, as `crossed.estimate` takes them
Rows = list[tuple[str, dict[str, Crossed]]]  # titles, and what was found by metric


@dataclass(frozen=True)
class Group:
    """A variant with all its seeds.

    Attributes:
        found: scores of those that finished.
        normalize: whether scores are means over tokens.
    """

    title: str
    found: Found
    normalize: bool

    def samples(self, model: str, seeds: Sequence[int] | None = None) -> Samples:
        """Of one of its models, with all its seeds or with these."""
        chosen = [self.found[seed][model] for seed in seeds or self.found]
        return crossed.samples(chosen, self.normalize)


def groups(found: Outcomes, study: Study) -> list[Group]:
    """The variants, by title in the order of their first runs; what failed is left out.

    Raises:
        InputError: the runs have different test responses.
    """
    by_title: dict[str, dict[int, Mapping[str, Scores]]] = {}
    normalizes = {}
    for variant, outcome in found:
        if outcome.error:
            continue
        title = _title(variant, study)
        by_title.setdefault(title, {})[variant.settings[SEED]] = outcome.scores
        normalizes[title] = variant.normalize
    every = [scores["final"].index for of in by_title.values() for scores in of.values()]
    if not all(index.same_as(every[0]) for index in every):
        raise InputError(
            "the runs have different test data, and cannot be compared pair by pair; a study of "
            "seeds must leave data.* for the test split as it is"
        )
    return [Group(title, of, normalizes[title]) for title, of in by_title.items()]


def _title(variant: Variant, study: Study) -> str:
    if study.x.param == SEED:
        return variant.series
    return f"{variant.series}, {told(study.x.param, variant.x)}"


def means(found: Sequence[Group]) -> Rows:
    """Each model's metrics; baseline and SFT once where all variants have the same."""
    rows: Rows = []
    for model, title in LEVELS:
        first, *others = [group.samples(model) for group in found]
        if all(_same(first, other) for other in others):
            rows.append((title, _estimated(first)))
        else:
            rows += [(f"{title} ({g.title})", _estimated(g.samples(model))) for g in found]
    return rows + [(group.title, _estimated(group.samples("final"))) for group in found]


def differences(found: Sequence[Group]) -> Rows:
    """Paired ones, by seed and test item: to baseline, to SFT, and between variants."""
    rows: Rows = []
    for model, title in LEVELS:
        for group in found:
            change = _minus(group.samples("final"), group.samples(model))
            rows.append((f"{group.title} - {title}", _estimated(change)))
    return rows + [(f"{b.title} - {a.title}", values) for a, b, values in between(found)]


def between(found: Sequence[Group]) -> Iterator[tuple[Group, Group, dict[str, Crossed]]]:
    """Every two variants that have two seeds or more in common, and the second minus the first."""
    for a, b in combinations(found, 2):
        shared = [seed for seed in a.found if seed in b.found]
        if len(shared) > 1:
            yield a, b, _estimated(_minus(b.samples("final", shared), a.samples("final", shared)))


def _same(one: Samples, other: Samples) -> bool:
    return all(
        np.array_equal(a, b)
        for metric in one
        for a, b in zip(one[metric], other[metric], strict=True)
    )


def _minus(one: Samples, other: Samples) -> Samples:
    return {
        metric: [a - b for a, b in zip(parts, other[metric], strict=True)]
        for metric, parts in one.items()
    }


def _estimated(samples: Samples) -> dict[str, Crossed]:
    return {metric: crossed.estimate(parts) for metric, parts in samples.items()}


def table(found: Outcomes, study: Study, noted: Mapping[str, float], decimals: int) -> str:
    """Means, differences and what a difference takes, as Markdown; see `outcomes.table`."""
    known = groups(found, study)
    if not known:
        return "\n".join(outcomes.notes(found)) + "\n"
    index = next(iter(known[0].found.values()))["final"].index
    counts = "; ".join(f"{group.title}: {', '.join(map(str, group.found))}" for group in known)
    parts = [
        _means(means(known), decimals),
        _differences(differences(known), decimals),
        [METHOD, "", f"Over {comparison.tested(index)}; seeds of {counts}."],
        _needed(known),
        [outcomes.saving(found, noted)],
        outcomes.notes(found),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


VARIES = (("SD over seeds", "right"), ("of seeds alone", "right"))


def _means(rows: Rows, decimals: int) -> list[str]:
    metric = [("metric", "left"), ("mean", "right"), markdown.INTERVAL]
    cells = []
    for title, values in rows:
        for name, value in values.items():
            sure = value.difference((0, 1) if name in SHARES else (-np.inf, np.inf))
            mean = markdown.number(sure.difference, decimals)
            interval = markdown.interval(sure.low, sure.high, decimals)
            cells.append([title, name, mean, interval, *_varies(value, decimals)])
    return markdown.table([("model", "left"), *metric, *VARIES], cells)


def _differences(rows: Rows, decimals: int) -> list[str]:
    columns = [("paired difference", "left"), ("metric", "left"), ("mean", "right")]
    cells = []
    for title, values in rows:
        for name, value in values.items():
            sure = value.difference((-1, 1) if name in SHARES else (-np.inf, np.inf))
            change = [*markdown.changed(sure, decimals), markdown.p_value(sure.p_value)]
            cells.append([title, name, *change, *_varies(value, decimals)])
    return markdown.table([*columns, markdown.INTERVAL, ("p-value", "right"), *VARIES], cells)


def _varies(value: Crossed, decimals: int) -> list[str]:
    alone = float(np.sqrt(value.spread.seed))
    return [markdown.number(float(one), decimals) for one in (value.over_seeds, alone)]


def _needed(found: Sequence[Group]) -> list[str]:
    """How many seeds and test items would show a difference of two points."""
    spreads: dict[str, Spread] = {}
    for a, b, values in between(found):
        metric, value = next(iter(values.items()))
        spreads[f"{b.title} - {a.title}"] = value.spread
    for group in found if not spreads else ():
        metric, value = next(iter(_estimated(group.samples("final")).items()))
        if value.spread.seeds > 1:
            spreads[f"two variants like {group.title}"] = power.of_two_alike(value.spread)
    if not spreads:
        return ["One seed tells nothing of how seeds vary."]
    items = sum(kind.count for kind in next(iter(spreads.values())).items)
    what = "pairs" if metric == "pair_acc" else "responses"
    columns = [
        (f"to show {SHOWN:g} of {metric}", "left"),
        (f"seeds, with {items:,} {what}", "right"),
        *((f"{what}, with {seeds} seeds", "right") for seeds in SEEDS),
    ]
    cells, alone = [], ""
    for title, spread in spreads.items():
        needed = [power.seeds_needed(spread, SHOWN)]
        needed += [power.items_needed(spread, SHOWN, seeds) for seeds in SEEDS]
        # Of shares, so all that is less is rounding.
        known = float(spread.seed + sum(spread.of_items)) > 1e-12
        cells.append([title, *(_told(number) if known else "unknown" for number in needed)])
        if not known:
            alone = " Where seeds came to the same everywhere, nothing tells how others would vary."
    alike = (
        "Two variants like one vary as it does, each by itself, and find the same test data as "
        "hard. "
    )
    return [
        *markdown.table(columns, cells),
        "",
        f"So much shows a true difference with a power of {power.POWER:.0%}, at the 5% level. "
        f"{alike if len(found) == 1 else ''}The estimate of what seeds vary is itself one of few "
        f"seeds.{alone}",
    ]


def _told(needed: int | None) -> str:
    return "no number" if needed is None else f"{needed:,}"


def chart(found: Outcomes, study: Study) -> Spec:
    """Each seed and the mean over all or, where x is no seed, the means; as Vega-Lite."""
    known, (metric, *_) = groups(found, study), outcomes.measured(found)
    finished = [(variant, o.metrics) for variant, o in found if not o.error]
    estimated = {group.title: _estimated(group.samples("final"))[metric] for group in known}
    series: dict[str, list[Point]] = {}
    for variant, metrics in finished:
        points = series.setdefault(variant.series, [])
        if study.x.param == SEED:
            points.append(outcomes.point(str(variant.x), metrics, metric))
        elif str(variant.x) not in [point.at for point in points]:
            points.append(_mean(str(variant.x), estimated[_title(variant, study)]))
    places = [at for points in series.values() for at in (point.at for point in points)]
    if study.x.param == SEED:
        for title, value in estimated.items():
            series[title].append(_mean("mean", value))
        places.append("mean")
    levels = [metrics for _, metrics in finished]
    order = list(dict.fromkeys(map(str, places)))
    joined = study.x.param != SEED
    return outcomes.drawn(series, order, study, metric, levels, joined=joined)


def _mean(at: str, value: Crossed) -> Point:
    sure = value.difference((0, 1))
    return Point(at, sure.difference, sure.low, sure.high, None)
