"""`params.yaml`, typed and validated."""

import difflib
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.core.optimization import Optimization
from preference.core.sections import (
    Count,
    Name,
    NonNegative,
    Positive,
    Section,
    Share,
    leaf_keys,
    problems,
    read_yaml,
)

PARAMS_FILE = Path("params.yaml")
# Each objective is a file there, under its name: their list needs no import of what computes.
LOSSES = Path(__file__).parents[1] / "losses"
OBJECTIVES = tuple(sorted(file.stem for file in LOSSES.glob("[!_]*.py")))


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
    base: Name
    revision: str | None
    scratch: Scratch = Scratch()
    # auto: those of the directory, random ones where it has none; random: whatever it has.
    weights: Literal["auto", "random"] = "auto"


class Scoring(Section):
    length_normalize: bool


class Sft(Optimization):
    # all: every answer of the assistant in a dialogue is learned, last: the preferred one alone.
    turns: Literal["last", "all"]


Scored = Literal["responses", "none", "mismatched", "public_length"]


class Reference(Section):
    # What of the training data has scores; metrics need those of the other splits in any case.
    # mismatched: the responses, and each behind another prompt, to estimate a KL divergence from.
    # public_length: the responses, and each cut to the length of the shorter one of its pair.
    train: Scored


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


def _objective(name: str) -> Any:
    """An `objectives.objective.Objective`; only to refuse what does not go with it."""
    return import_module(f"preference.losses.{name}").OBJECTIVE


class Train(Optimization):
    objective: Annotated[str, AfterValidator(_known)]
    beta: Positive
    label_noise: Share
    # The pairs by which epochs are judged, SFT's as well; validation leaves the test pairs alone.
    evaluate: Literal["test", "validation"]
    # best: the weights of the epoch that judges best.
    keep: Literal["last", "best"] = "last"
    # What the objective takes beside beta: the keys are those that its file declares.
    options: dict[str, Any]
    kto: Kto

    @model_validator(mode="after")
    def _steps_hold_whole_pairs(self) -> "Train":
        examples = self.batch_size * self.grad_accum_steps
        odd = self.kto.shuffle == "pairs" and examples % 2
        if odd and _objective(self.objective).needs == "labels":
            raise ValueError(
                f"kto.shuffle: pairs needs an even number of examples a step, not {examples} "
                "(batch_size x grad_accum_steps); make one of the two even, or shuffle examples"
            )
        return self


class Samples(Section):
    """What the models are asked to write, to be read side by side."""

    prompts: Count
    max_new_tokens: Count
    kl_prompts: Annotated[int, Field(ge=0)]


class Report(Section):
    decimals: Annotated[int, Field(ge=1, le=10)]
    # Name of a file in recipes/published, with which the results are compared.
    published: Name | None


# As accelerate calls them, and pip.
Tracker = Literal["wandb", "mlflow", "tensorboard", "trackio"]


class Runtime(Section):
    """What changes speed and memory, never results; no stage tracks it."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    tokens_per_batch: Count | None = None
    workers: Count | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    checkpoint_minutes: NonNegative | None = 5
    deterministic: bool = False
    trackers: list[Tracker] = Field(default=[])
    shortcuts: bool = True

    @model_validator(mode="after")
    def _what_is_compiled_is_tried(self) -> "Runtime":
        if self.compile and not self.shortcuts:
            raise ValueError("compile is a shortcut: set shortcuts to true, or compile to false")
        return self


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    model: Model
    scoring: Scoring
    sft: Sft
    reference: Reference
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

    @model_validator(mode="after")
    def _options_are_the_objectives(self) -> "Params":
        """Without options nothing of an objective is imported."""
        asked, objective = self.train.options, self.train.objective
        if not asked:
            return self
        known = _objective(objective).options
        if not known.model_fields:
            raise ValueError(f"train.options: {objective} has none; leave it empty: {{}}")
        try:
            known.model_validate(asked)
        except ValidationError as error:
            raise ValueError("\n".join(problems(error, known, "train.options."))) from None
        return self

    @model_validator(mode="after")
    def _reference_has_what_the_objective_needs(self) -> "Params":
        """Nothing of an objective is imported that the default suffices for: it takes long."""
        scored, name = self.reference.train, self.train.objective
        loss = (LOSSES / f"{name}.py").read_text(encoding="utf-8")
        if scored == "responses" and "beside=" not in loss:
            return self
        objective = _objective(name)
        if lacking := objective.lacks(scored):
            raise ValueError(
                f"reference.train: {scored} leaves out {lacking}, whose scores {name} compares "
                f"with; set it to {objective.scored}"
            )
        return self

    @model_validator(mode="after")
    def _margins_are_asked_for_where_they_are_used(self) -> "Params":
        key, name = "", self.train.objective
        if self.data.rankings.margin == "scores":
            key = "data.rankings.margin: scores"
        elif any(source.columns.margin for source in self.data.sources):
            key = "data.columns: margin"
        if key and not _objective(name).margins:
            raise ValueError(
                f"{key} gives pairs margins, which {name} has no use for; leave it out, or take "
                "an objective that has, as dpo (docs/objectives.md lists them)"
            )
        return self

    @model_validator(mode="after")
    def _quantized_weights_have_a_gpu(self) -> "Params":
        for name, section in (("sft", self.sft), ("train", self.train)):
            quantize = section.lora and section.lora.quantize
            if quantize and self.runtime.device not in ("auto", "cuda"):
                raise ValueError(
                    f"{name}.lora.quantize: {quantize} needs a CUDA GPU, and runtime.device is "
                    f"{self.runtime.device}; set it to auto, or quantize to null"
                )
        return self


def _leaf(key: str) -> str:
    if key not in set(leaf_keys(Params)):
        raise ValueError(f"{key!r} is no key of {PARAMS_FILE}")
    return key


# A name of a param, dotted.
Key = Annotated[str, AfterValidator(_leaf)]


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
    return read_yaml(path, Params)
