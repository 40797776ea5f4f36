"""`params.yaml`, the data: sources, formats, templates, splits."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from preference.core.sections import Count, Name, NonNegative, Section, flat


class Demo(Section):
    """What `data.source: demo` generates. Its seed is its own: `seed` varies training, not data."""

    train_rows: Count = 20_000
    test_rows: Count = 2_000
    lengths: Literal["short", "hh-rlhf"] = "short"
    seed: int = 0


Names = Name | list[Name] | None


class Splits(Section):
    """What a source calls its splits."""

    train: Name = "train"
    test: Name = "test"


class Columns(Section):
    """Which of a source's columns are which; several texts for one are joined."""

    prompt: Names = None
    chosen: Names = None
    rejected: Names = None
    completion: Names = None
    completions: Names = None
    messages: Names = None
    label: Names = None
    scores: Names = None
    weight: Names = None
    margin: Names = None
    ignore: Names = None

    @property
    def given(self) -> dict[str, list[str]]:
        """The source's columns by ours, those left out that have their own names."""
        found = {name: _listed(value) for name, value in flat(self) if value is not None}
        return {name: columns for name, columns in found.items() if name != "ignore"}

    @property
    def taken(self) -> set[str]:
        """All that it names."""
        return {column for _, value in flat(self) for column in _listed(value)}


class Rankings(Section):
    """Which pairs a prompt with more than two scored responses gives."""

    pairs: Literal["all", "best-worst"] = "all"
    min_gap: NonNegative = 0.0
    # scores: the difference of a pair's two, which losses that take margins then ask for.
    margin: Literal["none", "scores"] = "none"


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


FormatName = Literal["auto", "dialogues", "preference", "labelled", "ranked"]


class Source(Section):
    """One of several sources, as `data` has the only one.

    Attributes:
        title: what metrics call it.
        share: of its rows that are taken, evenly spread over all.
        cap: how many training rows to take at most.
    """

    title: Name
    source: Name | list[Name]
    revision: str | None = None
    name: str | None = None
    splits: Splits = Splits()
    format: FormatName = "auto"
    columns: Columns = Columns()
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cap: Count | None = None


class Data(Section):
    source: Name | list[Name] | Annotated[list[Source], Field(min_length=2)]
    revision: str | None
    # A configuration of a Hub dataset, and what it calls its splits.
    name: str | None
    splits: Splits
    format: FormatName
    columns: Columns
    rankings: Rankings
    # auto: messages by the tokenizer's own chat template, texts as they are.
    template: Annotated[str, Field(pattern=r"^(auto|none|hh|chat|.*\.jinja)$")]
    bos: Literal["auto", "never"]
    special_tokens: Literal["text", "keep"]
    truncation: Literal["start", "end", "drop"]
    train_pairs: Count | None
    # Taken from the training pairs, whole dialogues at a time.
    validation_pairs: Count | None
    eval_pairs: Count | None
    # Training rows that the test data have, too: exact leaves out those with the same dialogue,
    # near those with nearly the same as well.
    decontaminate: Literal["none", "exact", "near"]
    # One token alone has nothing before it, so it could not be scored.
    max_length: Annotated[int, Field(ge=2)]
    demo: Demo

    @property
    def sources(self) -> list[Source]:
        """All of them; a single one has no title that metrics would show."""
        several = [one for one in self.source if isinstance(one, Source)]
        places = [one for one in self.source if isinstance(one, str)]
        return several or [
            Source(
                title="data",
                source=self.source if isinstance(self.source, str) else places,
                revision=self.revision,
                name=self.name,
                splits=self.splits,
                format=self.format,
                columns=self.columns,
            )
        ]

    @model_validator(mode="after")
    def _sources_are_told_apart(self) -> "Data":
        titles = [source.title for source in self.sources]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"source: {', '.join(twice)}: each source needs a title of its own")
        return self

    @model_validator(mode="after")
    def _demo_makes_enough(self) -> "Data":
        if self.source == "demo":
            for pairs, rows in (("train_pairs", "train_rows"), ("eval_pairs", "test_rows")):
                wanted, made = getattr(self, pairs), getattr(self.demo, rows)
                if wanted is not None and wanted > made:
                    raise ValueError(
                        f"{pairs} asks for {wanted} pairs, of which the demo makes {made}; raise "
                        f"data.demo.{rows}"
                    )
        return self
