"""YAML files read as typed sections: unknown keys, missing ones and wrong types are named."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preference.core.errors import InputError

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Minority = Annotated[float, Field(ge=0, lt=0.5)]  # a share of fewer than half
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """A group of params: unknown keys and wrong types are errors, nothing is coerced.

    What DVC tracks by name has no default here: DVC fails on a key that the file lacks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_yaml(path: Path, kind: type[S]) -> S:
    """Read and validate a YAML file.

    Raises:
        InputError: it cannot be read, it is not YAML, or not as `kind` says; names each key.
    """
    try:
        # The parser that DVC uses: by another one's rules `2e-5` would be text.
        values = YAML(typ="safe", pure=True).load(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values; see the files in recipes")
    return checked(values, path, kind)


def checked(values: Mapping[str, Any], path: Path, kind: type[S]) -> S:
    """Validate what a file asks for; `path` names it.

    Raises:
        InputError: it is not as `kind` says; names each key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = problems(error, kind)
        raise InputError("\n".join(f"{path}: {problem}" for problem in found)) from None


def problems(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> list[str]:
    """What is wrong with values that are not as `kind` says, a line for each.

    Args:
        prefix: of the keys, where `kind` is a group of them: `train.options.`.
    """
    known = list(leaf_keys(kind, prefix, opened=True))
    found = (_describe(each, known, prefix) for each in error.errors())
    return [line for problem in found for line in problem.splitlines()]


def _describe(error: ErrorDetails, known: list[str], prefix: str) -> str:
    kind, message = error["type"], error["msg"]
    key = prefix + ".".join(str(part) for part in error["loc"] if part != "[key]")
    # Where a key takes several types, pydantic adds the type that it tried.
    key = next((name for name in known if "." in name and key.startswith(f"{name}.")), key)
    if kind == "value_error":
        return f"{key}: {message.removeprefix('Value error, ')}".removeprefix(": ")
    if kind == "missing":
        return f"{key}: missing; the files in recipes/ show every key"
    if kind == "extra_forbidden":
        groups = {name[:i] for name in known for i, sign in enumerate(name) if sign == "."}
        alike = known + sorted(name for name in groups if name.count(".") == key.count("."))
        # What all have in common would make any two look alike.
        near = difflib.get_close_matches(
            key.removeprefix(prefix), [name.removeprefix(prefix) for name in alike], n=1
        )
        group = key.rsplit(".", 1)[0] + "." if "." in key else ""
        siblings = ", ".join(name for name in known if name.startswith(group))
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {siblings or 'others'}"
        return f"{key}: unknown key; {hint}"
    quotes = "; write it in quotes" if kind == "string_type" else ""
    return f"{key}: {message[0].lower()}{message[1:]} (it is {error['input']!r}{quotes})"


def leaf_keys(section: type[BaseModel], prefix: str = "", *, opened: bool = False) -> Iterator[str]:
    """Every leaf key that a file may hold, dotted: `seed`, `data.source`, ...

    Args:
        opened: in place of a group that may be null, which is one leaf, the keys in it.
    """
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *(get_args(field.annotation) if opened else ())]
        group = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if group:
            yield from leaf_keys(group, f"{prefix}{name}.", opened=opened)
        else:
            yield prefix + name


def flat(values: BaseModel | Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted key, in a section the keys that `leaf_keys` has."""
    typed = isinstance(values, BaseModel)
    if isinstance(values, BaseModel):
        fields = type(values).model_fields
        values = {name: getattr(values, name) for name in fields}
        # A group that may be null is one leaf.
        values = {
            name: value.model_dump()
            if isinstance(value, BaseModel) and fields[name].annotation is not type(value)
            else value
            for name, value in values.items()
        }
    for name, value in values.items():
        if isinstance(value, BaseModel) or (isinstance(value, Mapping) and not typed):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
