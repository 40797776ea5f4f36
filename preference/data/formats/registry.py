"""The formats of data: told apart by their columns, or named by `data.format`."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa

from preference.core.data_params import Columns
from preference.core.errors import InputError
from preference.data.formats import conversations, hh, labelled, preference, ranked
from preference.data.formats.columns import PROMPT, SAID, Kinds, Names, meaning, missing, value
from preference.data.formats.example import UnusableError
from preference.store.tables import extended, plain


class Format(NamedTuple):
    """How rows of a source become raw rows: of `schema`, by `read`, from `columns`.

    Attributes:
        needed: the columns that every row has; the first of these, or the next.
    """

    name: str
    schema: pa.Schema
    columns: Collection[str]
    needed: tuple[tuple[str, ...], ...]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]


SIDES = (("chosen", "rejected"),)
LABELLED = (("prompt", "completion", "label"), ("messages", "label"))
FORMATS = {
    "dialogues": Format("dialogues", hh.SCHEMA, hh.COLUMNS, SIDES, hh.row),
    **{
        name: Format(name, conversations.SCHEMA, module.COLUMNS, needed, module.read)
        for name, module, needed in (
            ("preference", preference, SIDES),
            ("labelled", labelled, LABELLED),
            ("ranked", ranked, (ranked.COLUMNS,)),
        )
    },
}
# Columns of `tables.RAW_OF_PAIRS`, and what a source calls them.
OF_A_PAIR = {"pair_weight": "weight", "margin": "margin"}
RAW_TABLES: tuple[ModuleType, ...] = (hh, conversations)


class _Plan(NamedTuple):
    """What is read of rows that have certain columns.

    Attributes:
        used: a column by our name, and the source's columns that it is made of.
        beside: columns that are not used, and what their names say that they hold.
    """

    used: list[tuple[str, list[str]]]
    beside: list[tuple[str, str]]


class Reader:
    """Reads the rows of one source, all in one format.

    Args:
        wanted: a name of `FORMATS`, or `auto`: what the first row's columns say.
        columns: which of a source's columns are which, by the names that formats have.
        first: the first row.

    Raises:
        InputError: no format has such columns, or that of `wanted` needs others.
    """

    def __init__(self, wanted: str, columns: Columns, first: Mapping[str, Any], where: str) -> None:
        self._names, self._kinds = Names(columns), Kinds()
        self._plans: dict[tuple[str, ...], _Plan] = {}
        given = self._names.given
        if unknown := [n for listed in given.values() for n in listed if n not in first]:
            raise InputError(f"{where}: data.columns: {missing(unknown, first)}")
        if wanted == "auto":
            wanted = self._detected(first, where)
        self.format = FORMATS[wanted]
        if unused := [name for name in given if name not in self.format.columns]:
            raise InputError(
                f"{where}: data.columns: the format {wanted} does not use {', '.join(unused)}, but "
                f"{', '.join(self.format.columns)}; set another data.format, or leave it out"
            )
        if self.format.needed is SIDES:
            there = self._names.of(tuple(first))
            beside = {raw for raw, name in OF_A_PAIR.items() if name in there}
            if beside:
                schema = extended(self.format.schema, beside)
                self.format = self.format._replace(schema=schema)

    def read(self, source: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The raw row that a source's row gives; `where` names it.

        Raises:
            InputError: a column is missing or of a wrong type, or one that carries meaning would
                be left out.
        """
        names = tuple(source)
        if names not in self._plans:
            self._plans[names] = self._plan(names, where)
        plan = self._plans[names]
        for name, what in plan.beside:
            self._require_empty(name, what, source[name], where)
        try:
            row = {name: value(name, of, source) for name, of in plan.used}
            self._kinds.require_same(row)
            found = self.format.read(row)
            self._require_columns(found)
        except UnusableError as error:
            return conversations.unusable(error.reason)
        except UnicodeEncodeError:
            problem = "holds half of a surrogate pair, which is no character"
            raise InputError(f"{where}: {problem}; mend or remove the row") from None
        except (ValueError, OverflowError) as error:
            raise InputError(f"{where}: {error}; mend or remove the row") from None
        return found

    def _require_columns(self, row: Mapping[str, Any]) -> None:
        """Raise ValueError where a raw row says what its table has no column for."""
        for name, column in OF_A_PAIR.items():
            if row.get(name) is not None and name not in self.format.schema.names:
                raise ValueError(
                    f"column {column!r} is not in the first row, which says what columns there "
                    "are; give it there, too (null where it is not known)"
                )

    def _plan(self, source: Collection[str], where: str) -> _Plan:
        names = self._names.of(source)
        lacking = [[n for n in needed if n not in names] for needed in self.format.needed]
        if all(lacking):
            ways = "; or ".join(", ".join(needed) for needed in self.format.needed)
            raise InputError(
                f"{where}: {missing(min(lacking, key=len), source)}; the format "
                f"{self.format.name} needs {ways}: name them in data.columns, or set another "
                "data.format"
            )
        used = [(name, names[name]) for name in self.format.columns if name in names]
        read = {column for _, columns in used for column in columns} | self._names.taken
        beside = [(name, meaning(name)) for name in source if name not in read]
        return _Plan(used, [(name, what) for name, what in beside if what])

    def _detected(self, first: Mapping[str, Any], where: str) -> str:
        names = self._names.of(tuple(first))
        try:
            row = {name: value(name, of, first) for name, of in names.items() if name in SAID}
        except ValueError as error:
            raise InputError(f"{where}: {error}; mend or remove the row") from None
        if {"chosen", "rejected"} <= row.keys():
            return _paired(row, where)
        if {"prompt", "completions", "scores"} <= names.keys():
            return "ranked"
        if any(set(needed) <= names.keys() for needed in LABELLED):
            return "labelled"
        raise InputError(
            f"{where}: columns {', '.join(names) or 'none'} are those of no format; known are "
            "chosen and rejected (whole dialogues); prompt, chosen, rejected; prompt, completion, "
            "label; messages, label; prompt, completions, scores. Name them in data.columns, for "
            "instance {prompt: question, chosen: better, rejected: worse}"
        )

    def _require_empty(self, name: str, what: str, value: object, where: str) -> None:
        if value in (None, "", [], {}):
            return
        if what == PROMPT and not isinstance(value, str | list | Mapping):
            return
        raise InputError(
            f"{where}: column {name!r} looks like {what}, and the format {self.format.name} does "
            f"not use it; say what it is in data.columns, for instance {{prompt: {name}}}, or that "
            f"it is none: {{ignore: {name}}}"
        )


def _paired(row: Mapping[str, Any], where: str) -> str:
    """Whether chosen and rejected are whole dialogues, or answers to a prompt."""
    prompt, sides = row.get("prompt"), (row["chosen"], row["rejected"])
    if not all(isinstance(side, str) for side in sides):
        return "preference"
    if isinstance(prompt, str) and prompt.strip() and all(s.startswith(prompt) for s in sides):
        raise InputError(
            f"{where}: chosen and rejected both begin with the prompt. Are they whole dialogues? "
            "Set data.columns: {ignore: prompt}. Are they answers? Set data.format: preference"
        )
    return "dialogues" if prompt is None else "preference"


def of(schema: pa.Schema, path: Path) -> ModuleType:
    """What reads a raw table: has a `SCHEMA`, `read`, and the `REASONS` that it can give.

    Raises:
        InputError: no stage writes such columns.
    """
    # Of a mixture, rows have their source beside the rest.
    columns = [field for field in plain(schema) if field.name != "source"]
    for known in RAW_TABLES:
        if pa.schema(columns).equals(known.SCHEMA):
            return known
    raise InputError(
        f"{path}: has columns {', '.join(f'{f.name} ({f.type})' for f in schema)}, as no stage "
        "here writes them; set data.source to your own files, and run dvc repro fetch-data"
    )
