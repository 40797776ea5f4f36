"""Published results, as a file in `recipes/published` has them."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preference.core.errors import InputError
from preference.core.params import PARAMS_FILE, Section, leaf_keys


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(settings.keys() - set(leaf_keys())):
        raise ValueError(f"{', '.join(unknown)}: no key of {PARAMS_FILE}")
    return settings


Settings = Annotated[dict[str, Any], AfterValidator(_known)]


class Row(Section):
    """One published value, as text that keeps every digit, and the params it presupposes."""

    model: Literal["baseline", "sft", "final", "delta"]
    metric: Literal["pair_acc", "margin"]
    value: Annotated[str, Field(pattern=r"^[+-]?\d+\.\d+$")]
    settings: Settings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _share_is_a_share(self) -> "Row":
        least = -1 if self.model == "delta" else 0
        if self.metric == "pair_acc" and not least <= float(self.value) <= 1:
            raise ValueError(f"value: pair_acc of {self.model} lies from {least} to 1")
        return self


class Published(Section):
    """Published values, each over as many test pairs, and the params they all presuppose."""

    source: str
    pairs: Annotated[int, Field(ge=2)]
    settings: Settings
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
    path = directory / f"{name}.yaml"
    try:
        # The parser that reads params: by another one's rules `2e-5` would be text.
        return Published.model_validate(YAML(typ="safe", pure=True).load(path))
    except ValidationError as error:
        found = []
        for e in error.errors():
            key, message = ".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")
            todo = "write it in quotes" if e["type"] == "string_type" else ""
            found.append(": ".join(filter(None, [str(path), key, message, todo])))
        raise InputError("\n".join(found)) from None
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({error})") from None
