"""The formats of data: told apart by their columns, or named by `data.format`."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa

from preference.core.errors import InputError
from preference.core.params import Columns
from preference.data.formats import conversations, hh, labelled, preference, ranked
from preference.data.formats.example import UnusableError

# Other names of columns that can mean nothing else.
ALIASES = {
    "chosen_messages": "chosen",
    "rejected_messages": "rejected",
    "conversations": "prompt",
    "responses": "completions",
    "loss_weight": "weight",
}
# What columns are called that carry meaning: left out, the data would be read as other data.
PROMPTS = (
    *("prompt", "instruction", "instructions", "input", "inputs", "question", "query", "context"),
    *("system", "system_prompt", "history", "conversation", "conversations", "messages"),
    *("dialogue", "dialog", "post", "document", "tools"),
)
LABELS = ("label", "labels", "preference", "winner", "choice", "better")
SCORES = ("score", "rating", "margin", "reward", "weight")


class Format(NamedTuple):
    """How rows of a source become raw rows: of `schema`, by `read`, from `columns`."""

    name: str
    schema: pa.Schema
    columns: Collection[str]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]


FORMATS = {
    "dialogues": Format("dialogues", hh.SCHEMA, hh.SCHEMA.names, hh.row),
    **{
        name: Format(name, conversations.SCHEMA, module.COLUMNS, module.read)
        for name, module in (
            ("preference", preference),
            ("labelled", labelled),
            ("ranked", ranked),
        )
    },
}
RAW_TABLES: tuple[ModuleType, ...] = (hh, conversations)


class Reader:
    """Reads the rows of one source, all in one format.

    Args:
        wanted: a name of `FORMATS`, or `auto`: what the first row's columns say.
        columns: which of a source's columns are which, by the names that formats have.
        first: the first row.

    Raises:
        InputError: no format has such columns.
    """

    def __init__(self, wanted: str, columns: Columns, first: Mapping[str, Any], where: str) -> None:
        self._columns = columns
        self._known: set[str] = set()
        row = self._named(first, where)
        self.format = FORMATS[_detect(row, where) if wanted == "auto" else wanted]

    def read(self, source: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The raw row that a source's row gives; `where` names it.

        Raises:
            InputError: a column is missing or of a wrong type, or one that carries meaning would
                be left out.
        """
        row = self._named(source, where)
        try:
            return self.format.read(row)
        except UnusableError as error:
            return conversations.unusable(error.reason)
        except KeyError as error:
            raise InputError(f"{where}: {_missing(str(error.args[0]), source)}") from None
        except UnicodeEncodeError:
            problem = "holds half of a surrogate pair, which is no character"
            raise InputError(f"{where}: {problem}; mend or remove the row") from None
        except ValueError as error:
            raise InputError(f"{where}: {error}; mend or remove the row") from None
        finally:
            self._require_used(row, where)

    def _named(self, source: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A row by the names that formats have; columns without one keep their own."""
        given = self._columns.given
        row = {n: v for n, v in source.items() if n not in self._columns.taken}
        for other, name in ALIASES.items():
            if other in row and name not in row and name not in given:
                row[name] = row.pop(other)
        for name, columns in given.items():
            for column in columns:
                if column not in source:
                    raise InputError(f"{where}: data.columns: {_missing(column, source)}")
            values = [source[column] for column in columns]
            if len(values) > 1 and not all(isinstance(v, str | None) for v in values):
                raise InputError(f"{where}: data.columns: {name}: only texts can be joined")
            row[name] = values[0] if len(values) == 1 else "\n\n".join(filter(None, values))
        return row

    def _require_used(self, row: Mapping[str, Any], where: str) -> None:
        for name in row.keys() - self._known:
            used = name in self.format.columns
            if used or row[name] not in (None, "", [], {}):
                self._known.add(name)
            if not used and (what := _meaning(name, row[name])):
                raise InputError(
                    f"{where}: column {name!r} looks like {what}, and the format "
                    f"{self.format.name} does not use it; say what it is in data.columns, for "
                    f"instance {{prompt: {name}}}, or that it is none: {{ignore: {name}}}"
                )


def _detect(row: Mapping[str, Any], where: str) -> str:
    names = row.keys()
    if {"chosen", "rejected"} <= names:
        texts = all(isinstance(row[name], str) for name in ("chosen", "rejected"))
        return "dialogues" if texts and "prompt" not in names else "preference"
    if {"prompt", "completions", "scores"} <= names:
        return "ranked"
    if "label" in names and ("messages" in names or {"prompt", "completion"} <= names):
        return "labelled"
    raise InputError(
        f"{where}: columns {', '.join(names) or 'none'} are those of no format; known are chosen "
        "and rejected (whole dialogues); prompt, chosen, rejected; prompt, completion, label; "
        "messages, label; prompt, completions, scores. Name them in data.columns, for instance "
        "{prompt: question, chosen: better, rejected: worse}"
    )


def _meaning(name: str, value: object) -> str:
    """What a column that no format uses looks like; empty where it looks like nothing."""
    word = name.lower()
    if value in (None, "", [], {}):
        return ""
    if word in PROMPTS and isinstance(value, str | list | dict):
        return "a prompt or a part of one"
    if word in LABELS:
        return "a label"
    parts = word.replace("-", "_").split("_")
    return "a score" if any(part.removesuffix("s") in SCORES for part in parts) else ""


def _missing(column: str, row: Mapping[str, Any]) -> str:
    return f"no column {column!r} (it has {', '.join(row) or 'none'})"


def of(schema: pa.Schema, path: Path) -> ModuleType:
    """What reads a raw table: has a `SCHEMA`, `read`, and the `REASONS` that it can give.

    Raises:
        InputError: no stage writes such columns.
    """
    for known in RAW_TABLES:
        if schema.equals(known.SCHEMA):
            return known
    raise InputError(
        f"{path}: has columns {', '.join(f'{f.name} ({f.type})' for f in schema)}, as no stage "
        "here writes them; set data.source to your own files, and run dvc repro fetch-data"
    )
