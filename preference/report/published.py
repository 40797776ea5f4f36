"""Published results, as a file in `recipes/published` has them."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from preference.core.errors import InputError
from preference.core.params import PARAMS_FILE, Key
from preference.core.sections import NonNegative, Section, read_yaml


class Seeds(Section):
    """How a value varies from seed to seed, as `make seeds` finds it with a row's params.

    Attributes:
        count: how many seeds showed it.
        spread: standard deviation of seeds alone, in the value's unit.
    """

    count: Annotated[int, Field(ge=2)]
    spread: NonNegative


class Row(Section):
    """One published value, as text that keeps every digit, and the params it presupposes.

    Attributes:
        epoch: of training, after which the value was measured; None stands for the end.
        seeds: None where it is not known how seeds vary.
    """

    model: Literal["baseline", "sft", "final", "delta"]
    metric: Literal["pair_acc", "margin"]
    value: Annotated[str, Field(pattern=r"^[+-]?\d+\.\d+$")]
    epoch: Annotated[int, Field(ge=1)] | None = None
    seeds: Seeds | None = None
    settings: dict[Key, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _share_is_a_share(self) -> "Row":
        least = -1 if self.model == "delta" else 0
        if self.metric == "pair_acc" and not least <= float(self.value) <= 1:
            raise ValueError(f"value: pair_acc of {self.model} lies from {least} to 1")
        return self

    @model_validator(mode="after")
    def _epochs_are_of_accuracies(self) -> "Row":
        # A curve has no more than means, and only shares tell by themselves how they spread.
        if self.epoch and (self.model, self.metric) != ("final", "pair_acc"):
            raise ValueError("epoch: only pair_acc of final can be compared by epoch")
        return self

    @property
    def name(self) -> str:
        """The metric, and after which epoch."""
        return f"{self.metric}, epoch {self.epoch}" if self.epoch else self.metric


class Published(Section):
    """Published values, each over as many test pairs, and the params they all presuppose."""

    source: str
    pairs: Annotated[int, Field(ge=2)]
    settings: dict[Key, Any]
    rows: Annotated[list[Row], Field(min_length=1)]


def read(name: str, directory: Path = Path("recipes/published")) -> Published:
    """The published results in `NAME.yaml`.

    Raises:
        InputError: there is no such file, or it is not as `Published` says; names file and keys.
    """
    known = sorted(path.stem for path in directory.glob("*.yaml"))
    if name not in known:
        raise InputError(
            f"{PARAMS_FILE}: report.published: {name!r} is not in {directory}; known are "
            f"{', '.join([*known, 'null'])}"
        )
    return read_yaml(directory / f"{name}.yaml", Published)
