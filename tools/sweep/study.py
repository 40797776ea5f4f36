"""The label-noise study and the comparison of objectives: which runs, their table, their chart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from preference.report import markdown
from preference.report.charts import BLUE, FONT, GREY, ORANGE

COLUMNS = (
    ("variant", "left"),
    *markdown.ESTIMATES,
    ("stages run", "left"),
    ("reused", "right"),
    ("seconds", "right"),
)
EXAMPLES = {"dpo": 1, "kto": 2}  # that a pair gives
NOISE = (0.0, 0.25, 0.5, 0.75, 1.0)
OBJECTIVES = ("dpo", "kto")

Metrics = Mapping[str, Any]  # of a metrics file
Spec = dict[str, Any]

COLOURS = {"DPO": ORANGE, "KTO": BLUE}
BESIDE = 9  # pixels between two objectives at the same noise


@dataclass(frozen=True)
class Variant:
    """One run of the pipeline; what it does not name is as in `params.yaml`.

    Attributes:
        batch_size: examples, of which a pair gives as many as `EXAMPLES` says.
    """

    objective: str
    noise: float
    batch_size: int

    @property
    def name(self) -> str:
        """`dpo`, `kto`, `noise-25` (DPO, noise in percent), ..."""
        if self.noise == 0:
            return self.objective
        prefix = "" if self.objective == "dpo" else f"{self.objective}-"
        return f"{prefix}noise-{100 * self.noise:g}"

    @property
    def experiment(self) -> str:
        """What its experiment is called, so that nobody else's has the name."""
        return f"sweep-{self.name}"

    @property
    def settings(self) -> dict[str, str]:
        """The params that it sets, as text, by dotted key."""
        return {
            "train.objective": self.objective,
            "train.label_noise": repr(float(self.noise)),
            "train.batch_size": str(self.batch_size),
        }

    def changed(self, objective: str, noise: float) -> "Variant":
        """Another one, whose steps take as many pairs."""
        pairs = self.batch_size / EXAMPLES[self.objective]
        return Variant(objective, noise, max(1, round(pairs * EXAMPLES[objective])))


def variants(noise: Iterable[float], objectives: Iterable[str], present: Variant) -> list[Variant]:
    """Every run once: DPO by label noise, then the objectives without noise.

    Args:
        noise: shares of training pairs with swapped labels.
        present: what `params.yaml` asks for; it is among them, asked for or not, as the others
            are run on top of what it has in common with them.
    """
    by_noise = [present.changed("dpo", value) for value in sorted(noise)]
    by_objective = [present.changed(objective, 0.0) for objective in objectives]
    return list(dict.fromkeys([*by_noise, *by_objective, present]))


@dataclass(frozen=True)
class Outcome:
    """What became of a variant.

    Attributes:
        seconds: on the clock, from beginning to end.
        ran: seconds by stage that ran.
        reused: stages whose results were there.
        metrics: of the policy; None where the run failed.
        error: why it failed.
    """

    variant: Variant
    seconds: float
    ran: Mapping[str, float] = field(default_factory=dict)
    reused: Sequence[str] = ()
    metrics: Metrics | None = None
    error: str = ""


def line(outcome: Outcome) -> str:
    """A variant's stages, for people who watch."""
    ran = ", ".join(f"{stage} ({spent:.1f} s)" for stage, spent in outcome.ran.items())
    told = f"{outcome.variant.name}: ran {ran or 'nothing'}; reused {len(outcome.reused)} stages"
    return f"{told}; failed: {outcome.error}" if outcome.error else told


@dataclass(frozen=True)
class Saving:
    """What reuse was good for: stage runs counted, and seconds.

    Attributes:
        unknown: reused stage runs of which nobody knows how long they take; they count as 0 s.
    """

    reused: int
    runs: int
    saved: float
    full: float
    unknown: int


def saving(outcomes: Sequence[Outcome], noted: Mapping[str, float]) -> Saving:
    """Seconds of reused stages are those measured in this sweep, else those noted before."""
    seconds = dict(noted)
    for outcome in outcomes:
        seconds |= outcome.ran
    reused = [stage for outcome in outcomes for stage in outcome.reused]
    ran = [spent for outcome in outcomes for spent in outcome.ran.values()]
    saved = sum(seconds.get(stage, 0.0) for stage in reused)
    return Saving(
        reused=len(reused),
        runs=len(reused) + len(ran),
        saved=saved,
        full=saved + sum(ran),
        unknown=sum(stage not in seconds for stage in reused),
    )


def table(outcomes: Sequence[Outcome], saved: Saving, present: Variant, decimals: int) -> str:
    """The variants as Markdown, and what reuse saved.

    Args:
        present: what `params.yaml` asks for.
        decimals: digits after the point.
    """
    lines = [
        *markdown.table(COLUMNS, (_row(outcome, decimals) for outcome in outcomes)),
        "",
        f"{saved.reused} of {saved.runs} stage runs were reused, which saved {_seconds(saved)}. "
        f"The sweep took {sum(outcome.seconds for outcome in outcomes):.0f} s. Seconds are those "
        "of the run that wrote this table, on its machine. A step of KTO has as many pairs as one "
        "of DPO, and so twice the examples.",
        "",
        f"`{present.name}` is what `params.yaml` asks for, and its results are those in this "
        f"directory. The others are experiments, for `dvc exp show` and `dvc exp apply` under "
        "their names with `sweep-` before them.",
    ]
    lines += [f"\n`{o.variant.name}` failed: {o.error}" for o in outcomes if o.metrics is None]
    return "\n".join(lines) + "\n"


def _row(outcome: Outcome, decimals: int) -> list[str]:
    found = ["failed", ""] * len(markdown.METRICS)
    if outcome.metrics is not None:
        found = markdown.estimates(outcome.metrics, decimals)
    ran = ", ".join(outcome.ran) if outcome.reused else "all"
    return [
        outcome.variant.name,
        *found,
        ran or "none",
        str(len(outcome.reused)),
        f"{outcome.seconds:.1f}",
    ]


def _seconds(saved: Saving) -> str:
    told = f"{saved.saved:.0f} s of {saved.full:.0f} s"
    if not saved.unknown:
        return f"about {told}"
    return f"at least {told} (how long {saved.unknown} of them take is not known)"


def chart(outcomes: Sequence[Outcome], levels: Mapping[str, float]) -> Spec:
    """pair_acc with its intervals by label noise, as a Vega-Lite specification.

    Args:
        levels: pair_acc of what is not swept, by name; a dashed line each.
    """
    rows = [_point(o.variant, o.metrics) for o in outcomes if o.metrics is not None]
    objectives = sorted({str(row["objective"]) for row in rows})
    colour = {
        "field": "objective",
        "type": "nominal",
        "title": None,
        "scale": {"domain": objectives, "range": [COLOURS[o] for o in objectives]},
    }
    noise = sorted({float(row["noise"]) for row in rows})
    x = {
        "field": "noise",
        "type": "quantitative",
        "title": "share of training labels that are flipped",
        "axis": {"values": noise, "format": ".3~%", "grid": False},
        "scale": {"domain": [0, max([*noise, 0.01])], "padding": 20},
    }
    series = [
        {
            "data": {"values": [row for row in rows if row["objective"] == objective]},
            "encoding": {"x": x, "color": colour},
            "layer": _series(BESIDE * index),
        }
        for index, objective in enumerate(objectives)
    ]
    return {
        "width": 460,
        "height": 260,
        "layer": [_levels(levels), *series],
    }


def _levels(levels: Mapping[str, float]) -> Spec:
    label = {"type": "text", "align": "left", "dx": 4, "color": GREY, "font": FONT, "fontSize": 12}
    rank = sorted(levels, key=levels.__getitem__)
    # Labels of levels that are close stand on either side of their lines.
    values = [
        {"name": n, "pair_acc": y, "shift": -5 if n == rank[-1] else 5} for n, y in levels.items()
    ]
    return {
        "data": {"values": values},
        "encoding": {"y": {"field": "pair_acc", "type": "quantitative"}},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [4, 4], "color": GREY}},
            {
                "mark": {**label, "dy": {"expr": "datum.shift"}},
                "encoding": {"text": {"field": "name"}, "x": {"value": "width"}},
            },
        ],
    }


def _point(variant: Variant, metrics: Metrics) -> dict[str, str | float]:
    return {
        "objective": variant.objective.upper(),
        "noise": variant.noise,
        **{key: metrics[key] for key in ("pair_acc", "pair_acc_low", "pair_acc_high")},
    }


def _series(offset: int) -> list[Spec]:
    """A line through the points and an interval at each, `offset` pixels to the right."""
    y = {
        "field": "pair_acc",
        "type": "quantitative",
        "title": "test pair_acc, with 95% interval",
        "scale": {"zero": False},
    }

    def mark(kind: str, **more: object) -> Spec:
        return {"type": kind, "xOffset": offset, **more}

    ends = {"y": {**y, "field": "pair_acc_low"}, "y2": {"field": "pair_acc_high"}}
    return [
        {"mark": mark("line", strokeWidth=1.5), "encoding": {"y": y}},
        {"mark": mark("rule", strokeWidth=2), "encoding": ends},
        {"mark": mark("point", filled=True, size=60, opacity=1), "encoding": {"y": y}},
    ]
