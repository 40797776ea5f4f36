"""docs/data.md: each row of its tables is run, and gives what the page says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from data_helpers import ROOT
from format_cases import read, refused, settings
from ruamel.yaml import YAML

from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data import templates, truncation
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.sources import registry
from preference.data.sources.readers import READERS

PAGE = (ROOT / "docs/data.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The first table of a section, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def texts(cell: str) -> list[str]:
    """What stands in code, with its escapes as in JSON."""
    return [json.loads(f'"{text}"') for text in codes(cell)]


def written(place: Path, cell: str) -> Path:
    (place / "train.jsonl").write_text(codes(cell)[0] + "\n")
    return place


def learned(example: Example) -> str:
    """In the words of the page."""
    if example.pairs:
        said = [f"{chosen + 1} over {rejected + 1}" for chosen, rejected in example.pairs]
        said += [f"weight {weight:g}" for weight in example.pair_weights]
        return ", ".join(said + [f"margin {margin:g}" for margin in example.margins])
    (weight,) = example.weights
    more = "" if weight is None else f", weight {weight}"
    return f"1 is {'good' if example.labels[0] else 'bad'}{more}"


def require_as_said(example: Any, prompt: str, responses: str, what: str) -> None:
    assert isinstance(example, Example)
    who, said = re.findall(r"(\w+) `", prompt), texts(prompt)
    if who == ["text"]:
        assert [example.text] == said
    else:
        assert example.text is None
        assert example.turns == tuple(map(Turn, who, said))
    assert list(example.responses) == texts(responses)
    assert learned(example) == what


@pytest.mark.parametrize("line", table("Formats"), ids=str)
def test_a_row_of_each_format_gives_what_is_said(line: list[str], tmp_path: Path) -> None:
    name, row, prompt, responses, what = line
    (example,) = read(written(tmp_path, row))
    require_as_said(example, prompt, responses, what)
    found, _ = registry.raw(settings(str(tmp_path)), "train")
    assert [found.name] == codes(name)


def test_every_format_has_a_row() -> None:
    formats = [
        value for value in get_args(Data.model_fields["format"].annotation) if value != "auto"
    ]
    assert {codes(line[0])[0] for line in table("Formats")} == set(formats)


@pytest.mark.parametrize("line", table("Columns"), ids=str)
def test_columns_are_what_is_said(line: list[str], tmp_path: Path) -> None:
    columns, row, *said = line
    given = dict(YAML(typ="safe", pure=True).load(codes(columns)[0]))
    (example,) = read(written(tmp_path, row), columns=given)
    require_as_said(example, *said)


@pytest.mark.parametrize("line", [x for x in table("Counted") if x[2]], ids=str)
def test_a_counted_row_has_the_reason_that_is_said(line: list[str], tmp_path: Path) -> None:
    reason, _, row = line
    assert read(written(tmp_path, row)) == [Unusable(codes(reason)[0])]


def test_every_reason_is_said() -> None:
    assert sorted(codes(line[0])[0] for line in table("Counted")) == sorted(map(str, Unusable))
    # Those without a row are found only once there are tokens, or other rows.
    later = {codes(line[0])[0] for line in table("Counted") if not line[2]}
    assert later == {"refused_by_template", "too_long", "in_test", "near_test", "no_tokens"}


@pytest.mark.parametrize("line", table("Refused"), ids=str)
def test_a_refused_row_is_refused_for_what_is_said(line: list[str], tmp_path: Path) -> None:
    row, why = line
    message = refused(written(tmp_path, row))
    assert message.startswith(f"{tmp_path / 'train.jsonl'}, line 1: ")
    assert codes(why)[0] in message


def test_every_kind_of_file_is_said() -> None:
    assert {name for line in table("Files") for name in codes(line[0])} == set(READERS)


def layouts() -> Iterator[tuple[str, str | None, str | None]]:
    """What each template makes of messages, and of a text; None where it refuses."""
    example = Example((Turn("user", "Hi"),), ())
    text = example._replace(text="Hi, you")
    source = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    for name, own in (("auto", "chat"), ("none", "chat"), ("hh", "chat"), ("chat", "none")):
        made: list[str | None] = []
        for one, template in ((example, own), (text, "none")):
            try:
                made.append(templates.named(name, template, source, {}).prompt(one))
            except InputError:
                made.append(None)
        yield name, made[0], made[1]


def test_templates_lay_out_as_is_said() -> None:
    lines = {codes(line[0])[0]: line[1:] for line in table("Templates")}
    assert set(lines) == {"auto", "none", "hh", "chat", "FILE.jinja"}
    found = {name: (messages, text) for name, messages, text in layouts()}
    assert found["auto"] == ("[Hi]", "Hi, you")
    assert lines["auto"] == ["as `chat`", "as it is"]
    assert found["none"] == (None, "Hi, you")
    assert lines["none"] == ["refused", "as it is"]
    assert found["hh"] == (texts(lines["hh"][0])[0], "Hi, you")
    assert lines["hh"][1] == "as it is"
    # By its turns, not by its text.
    assert found["chat"] == ("[Hi]", "[Hi]")


def test_values_of_params_are_those_of_the_page() -> None:
    assert {codes(line[0])[0] for line in table("Length")} == set(get_args(truncation.How))
    for name in ("special_tokens", "bos", "decontaminate"):
        for value in get_args(Data.model_fields[name].annotation):
            assert re.search(rf"`(data\.{name}: )?{value}`", PAGE), (name, value)
    for name in Data.model_fields:
        assert name == "demo" or f"data.{name}" in PAGE or f"      {name}: " in PAGE, name
