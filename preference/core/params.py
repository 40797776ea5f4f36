"""`params.yaml`, typed and validated."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preference.core.errors import InputError

PARAMS_FILE = Path("params.yaml")
# Each objective is a file there, under its name: their list needs no import of what computes.
LOSSES = Path(__file__).parents[1] / "objectives" / "losses"
OBJECTIVES = tuple(sorted(file.stem for file in LOSSES.glob("[!_]*.py")))

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


S = TypeVar("S", bound=BaseModel)


def _leaf(key: str) -> str:
    if key not in set(leaf_keys()):
        raise ValueError(f"{key!r} is no key of {PARAMS_FILE}")
    return key


# A name of a param, dotted.
Key = Annotated[str, AfterValidator(_leaf)]


class Section(BaseModel):
    """A group of params: unknown keys and wrong types are errors, nothing is coerced.

    What DVC tracks by name has no default here: DVC fails on a key that the file lacks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Demo(Section):
    """What `data.source: demo` generates. Its seed is its own: `seed` varies training, not data."""

    train_rows: Count = 20_000
    test_rows: Count = 2_000
    lengths: Literal["short", "hh-rlhf"] = "short"
    seed: int = 0


Names = Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None


class Splits(Section):
    """What a source calls its splits."""

    train: Annotated[str, Field(min_length=1)] = "train"
    test: Annotated[str, Field(min_length=1)] = "test"


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


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


Place = Annotated[str, Field(min_length=1)]
FormatName = Literal["auto", "dialogues", "preference", "labelled", "ranked"]


class Source(Section):
    """One of several sources, as `data` has the only one.

    Attributes:
        title: what metrics call it.
        share: of its rows that are taken, evenly spread over all.
        cap: how many training rows to take at most.
    """

    title: Annotated[str, Field(min_length=1)]
    source: Place | list[Place]
    revision: str | None = None
    name: str | None = None
    splits: Splits = Splits()
    format: FormatName = "auto"
    columns: Columns = Columns()
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cap: Count | None = None


class Data(Section):
    source: Place | list[Place] | Annotated[list[Source], Field(min_length=2)]
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


class Scratch(Section):
    """The size of the GPT-2 that `model.base: scratch` makes, under GPT-2's own names."""

    n_layer: Count = 2
    n_head: Count = 4
    n_embd: Count = 128
    n_positions: Count = 512
    vocab_size: Annotated[int, Field(ge=300)] = 1024

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Scratch":
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        return self


class Model(Section):
    base: Annotated[str, Field(min_length=1)]
    revision: str | None
    scratch: Scratch = Scratch()
    # auto: those of the directory, random ones where it has none; random: whatever it has.
    weights: Literal["auto", "random"] = "auto"


class Scoring(Section):
    length_normalize: bool


class Optimization(Section):
    """How one stage trains; a step is `batch_size x grad_accum_steps` examples."""

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    batch_size: Count
    grad_accum_steps: Count
    weight_decay: NonNegative
    warmup_ratio: Share
    max_grad_norm: Positive
    # true: the model's own dropout; first-epoch: only there, as in the published DPO run.
    dropout: bool | Literal["first-epoch"]


class Sft(Optimization):
    # all: every answer of the assistant in a dialogue is learned, last: the preferred one alone.
    turns: Literal["last", "all"]


class Kto(Section):
    target_kl: Annotated[float, Field(allow_inf_nan=False)]
    # pairs: the two halves of a pair fall into one step, where their prompt is run once.
    shuffle: Literal["examples", "pairs"] = "examples"


def _known(objective: str) -> str:
    if objective not in OBJECTIVES:
        near = difflib.get_close_matches(objective, OBJECTIVES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{objective!r} is unknown; {hint}known are {', '.join(OBJECTIVES)}")
    return objective


class Train(Optimization):
    objective: Annotated[str, AfterValidator(_known)]
    beta: Positive
    label_noise: Share
    # The pairs by which epochs are judged, SFT's as well; validation leaves the test pairs alone.
    evaluate: Literal["test", "validation"]
    # best: the weights of the epoch that judges best.
    keep: Literal["last", "best"] = "last"
    kto: Kto

    @model_validator(mode="after")
    def _steps_hold_whole_pairs(self) -> "Train":
        examples = self.batch_size * self.grad_accum_steps
        if self.objective == "kto" and self.kto.shuffle == "pairs" and examples % 2:
            raise ValueError(
                f"kto.shuffle: pairs needs an even number of examples a step, not {examples} "
                "(batch_size x grad_accum_steps); make one of the two even, or shuffle examples"
            )
        return self


class Samples(Section):
    """What the models are asked to write, to be read side by side."""

    prompts: Count
    max_new_tokens: Count


class Report(Section):
    decimals: Annotated[int, Field(ge=1, le=10)]
    # Name of a file in recipes/published, with which the results are compared.
    published: Annotated[str, Field(min_length=1)] | None


class Runtime(Section):
    """What changes speed and memory, never results; no stage tracks it."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    tokens_per_batch: Count | None = None
    workers: Count | None = None
    gradient_checkpointing: bool = False
    checkpoint_minutes: NonNegative | None = 5
    deterministic: bool = False
    tensorboard: bool = False
    shortcuts: bool = True


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    model: Model
    scoring: Scoring
    sft: Sft
    train: Train
    precision: Literal["fp32", "bf16", "fp16", "auto"]
    samples: Samples
    report: Report
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _epochs_are_judged_by_what_is_there(self) -> "Params":
        if self.train.evaluate == "validation" and not self.data.validation_pairs:
            raise ValueError("train.evaluate: validation needs pairs: set data.validation_pairs")
        if self.train.evaluate == "test" and self.train.keep == "best":
            raise ValueError(
                "train.keep: best would choose the model by the test pairs that are to judge it; "
                "set data.validation_pairs, and train.evaluate: validation"
            )
        if self.sft.turns == "all" and self.data.truncation == "end":
            raise ValueError("sft.turns: all needs data.truncation: start or drop")
        return self


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and validate a params file.

    Raises:
        InputError: there is no such file, it is not YAML, or keys are unknown, missing or of a
            wrong type; the message names each key.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file; run from the project's root, or make repro RECIPE=demo-dpo"
        )
    return read(path, Params)


def read(path: Path, kind: type[S]) -> S:
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
        known = list(leaf_keys(kind))
        found = [_describe(e, known) for e in error.errors()]
        raise InputError("\n".join(f"{path}: {problem}" for problem in found)) from None


def _describe(error: ErrorDetails, known: list[str]) -> str:
    kind, message = error["type"], error["msg"]
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    # Where a key takes several types, pydantic adds the type that it tried.
    key = next((name for name in known if "." in name and key.startswith(f"{name}.")), key)
    if kind == "value_error":
        return f"{key}: {message.removeprefix('Value error, ')}".removeprefix(": ")
    if kind == "missing":
        return f"{key}: missing; the files in recipes/ show every key"
    if kind == "extra_forbidden":
        groups = {name[:i] for name in known for i, sign in enumerate(name) if sign == "."}
        near = difflib.get_close_matches(
            key, known + sorted(name for name in groups if name.count(".") == key.count(".")), n=1
        )
        group = key.rsplit(".", 1)[0] + "." if "." in key else ""
        siblings = ", ".join(name for name in known if name.startswith(group))
        hint = f"did you mean {near[0]}?" if near else f"known are {siblings or 'others'}"
        return f"{key}: unknown key; {hint}"
    quotes = "; write it in quotes" if kind == "string_type" else ""
    return f"{key}: {message[0].lower()}{message[1:]} (it is {error['input']!r}{quotes})"


def leaf_keys(section: type[BaseModel] = Params, prefix: str = "") -> Iterator[str]:
    """Every leaf key that `params.yaml` may hold, dotted: `seed`, `data.source`, ..."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaf_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def flat(values: BaseModel | Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted key."""
    if isinstance(values, BaseModel):
        values = {name: getattr(values, name) for name in type(values).model_fields}
    for name, value in values.items():
        if isinstance(value, BaseModel | Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
