"""A study, as a file in `recipes/studies` has it: which params, which values, and so which runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from preference.core import params
from preference.core.params import Key, Params
from preference.core.sections import Section, checked, flat, read_yaml
from preference.losses import named

STUDIES = Path("recipes/studies")
OBJECTIVE, BATCH, SEED = "train.objective", "train.batch_size", "seed"
NORMALIZE = "scoring.length_normalize"


class Axis(Section):
    """The param by which the chart goes from left to right, and its title there."""

    param: Key
    title: str


class Study(Section):
    """Each of `runs` is a value by param, or a list of values: then it stands for a run each.

    Attributes:
        view: how its runs are shown, and the name of the files: each by itself (sweep), those that
            differ in the seed together (seeds), or with what training did to the model (screen).
    """

    title: str
    x: Axis
    view: Literal["sweep", "seeds", "screen"] = "sweep"
    runs: Annotated[list[dict[Key, Any]], Field(min_length=1)]

    @model_validator(mode="after")
    def _tells_runs_apart(self) -> "Study":
        needed = {"seeds": SEED, "screen": OBJECTIVE}.get(self.view)
        if needed and needed not in self.params:
            raise ValueError(f"view: {self.view} is of runs by {needed}; give them values of it")
        return self

    def with_seeds(self, seeds: Sequence[int]) -> "Study":
        """What `params.yaml` asks for and all its runs, each with each of these seeds."""
        alone = [{k: v for k, v in run.items() if k != SEED} for run in ({}, *self.runs)]
        runs = [{**run, SEED: list(seeds)} for run in alone]
        return self.model_copy(update={"view": "seeds", "runs": runs})

    @property
    def params(self) -> list[str]:
        """All that tell its runs apart; what a run leaves out of them is as in `params.yaml`."""
        return list(dict.fromkeys([*(param for run in self.runs for param in run), self.x.param]))


@dataclass(frozen=True)
class Variant:
    """One run of the pipeline.

    Attributes:
        name: what it sets, for people; its experiment has `sweep-` before it.
        x: where it stands in the chart.
        series: which line of the chart it belongs to; where runs of several seeds are shown
            together, those of all seeds belong to one.
        settings: params by dotted key, those that tell the study's runs apart among them.
        normalize: whether its scores are means over tokens.
    """

    name: str
    x: Any
    series: str
    settings: Mapping[str, Any]
    normalize: bool = True


def read(name: str, present: Params, seeds: int | None = None) -> tuple[Study, list[Variant]]:
    """A study of a name, or in a file, and its runs, once each, after what `params.yaml` asks for.

    Args:
        seeds: each run with so many of them, from the one in `params.yaml` on; None: as it says.

    Raises:
        InputError: there is no such file, it is not as `Study` says, or a run has no valid params;
            names file and keys.
    """
    path = Path(name) if name.endswith(".yaml") else STUDIES / f"{name}.yaml"
    study = read_yaml(path, Study)
    if seeds:
        study = study.with_seeds(range(present.seed, present.seed + seeds))
    asked = [
        dict(zip(run, values, strict=True))
        for run in study.runs
        for values in product(*map(_listed, run.values()))
    ]
    asked.insert(0, {})
    if study.view == "seeds":
        # One seed after the other: its runs share what does not depend on the rest.
        order = [run.get(SEED, present.seed) for run in asked]
        asked.sort(key=lambda run: order.index(run.get(SEED, present.seed)))
    found = [_variant(study, present, settings, path) for settings in asked]
    return study, [variant for i, variant in enumerate(found) if variant not in found[:i]]


def _variant(study: Study, present: Params, asked: Mapping[str, Any], path: Path) -> Variant:
    train, settings = present.train, dict(asked)
    objective = asked.get(OBJECTIVE, train.objective)
    if BATCH not in study.params and objective in params.OBJECTIVES:
        # A step of as many pairs, whatever examples the objective makes of one.
        pairs = train.batch_size / named(train.objective).examples
        settings[BATCH] = max(1, round(pairs * named(objective).examples))
    nested = present.model_dump()
    for key, value in settings.items():
        *sections, last = key.split(".")
        reduce(getitem, sections, nested)[last] = value
    values = dict(flat(checked(nested, path, Params)))
    named_values = {param: told(param, values[param]) for param in study.params}
    known = {OBJECTIVE, study.x.param} | ({SEED} if study.view == "seeds" else set())
    others = [text for param, text in named_values.items() if param not in known]
    return Variant(
        # Git takes no other signs in a name, or no shell.
        re.sub(r"[^\w.-]+|\.{2,}", "-", "-".join(named_values.values())),
        values[study.x.param],
        ", ".join([named(objective).title, *others]),
        {param: values[param] for param in (*study.params, BATCH)},
        values[NORMALIZE],
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def told(param: str, value: object) -> str:
    """A param's value for people, in the name of a run."""
    if isinstance(value, dict):
        value = "-".join(f"{name}-{part}" for name, part in value.items()) or "none"
    text = str(value).removesuffix(".0")
    return text if param == OBJECTIVE else f"{param.rpartition('.')[2]}-{text}"
