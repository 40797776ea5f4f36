"""A study, as a file in `recipes/studies` has it: which params, which values, and so which runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from preference.core import params
from preference.core.params import Key, Params
from preference.core.sections import Section, checked, flat, read_yaml
from preference.objectives.registry import named

STUDIES = Path("recipes/studies")
OBJECTIVE, BATCH = "train.objective", "train.batch_size"


class Axis(Section):
    """The param by which the chart goes from left to right, and its title there."""

    param: Key
    title: str


class Study(Section):
    """Each of `runs` is a value by param, or a list of values: then it stands for a run each."""

    title: str
    x: Axis
    runs: Annotated[list[dict[Key, Any]], Field(min_length=1)]

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
        series: which line of the chart it belongs to.
        settings: params by dotted key, those that tell the study's runs apart among them.
    """

    name: str
    x: Any
    series: str
    settings: Mapping[str, Any]


def read(name: str, present: Params) -> tuple[Study, list[Variant]]:
    """A study of a name, or in a file, and its runs, once each, after what `params.yaml` asks for.

    Raises:
        InputError: there is no such file, it is not as `Study` says, or a run has no valid params;
            names file and keys.
    """
    path = Path(name) if name.endswith(".yaml") else STUDIES / f"{name}.yaml"
    study = read_yaml(path, Study)
    asked = [
        dict(zip(run, values, strict=True))
        for run in study.runs
        for values in product(*map(_listed, run.values()))
    ]
    found = [_variant(study, present, settings, path) for settings in ({}, *asked)]
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
    told = {param: _told(param, values[param]) for param in study.params}
    others = [told[param] for param in told if param not in (OBJECTIVE, study.x.param)]
    return Variant(
        # Git takes no other signs in a name, or no shell.
        re.sub(r"[^\w.-]+|\.{2,}", "-", "-".join(told.values())),
        values[study.x.param],
        ", ".join([named(objective).title, *others]),
        {param: values[param] for param in (*study.params, BATCH)},
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _told(param: str, value: object) -> str:
    if isinstance(value, dict):
        value = "-".join(f"{name}-{part}" for name, part in value.items()) or "none"
    told = str(value).removesuffix(".0")
    return told if param == OBJECTIVE else f"{param.rpartition('.')[2]}-{told}"
