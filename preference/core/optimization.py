"""How `sft` and `train` optimize: the keys that both sections of `params.yaml` have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from preference.core.sections import Count, Name, NonNegative, Positive, Section, Share

# Of a moving average: what one step leaves of it.
DecayRate = Annotated[float, Field(ge=0, lt=1)]


class Lora(Section):
    """Low-rank matrices that are trained beside frozen weights, by the names of peft's LoraConfig.

    Hu et al. 2021, LoRA; DoRA: Liu et al. 2024; rank-stabilized scaling: Kalajdzievski 2023.
    """

    r: Count = 8
    lora_alpha: Count = 8
    # In every epoch; `dropout` is the model's own.
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # null: those that peft takes for the architecture.
    target_modules: Literal["all-linear"] | Annotated[list[Name], Field(min_length=1)] | None = None
    use_dora: bool = False
    use_rslora: bool = False
    # 4bit: QLoRA's NF4 weights for what is frozen, by bitsandbytes.
    quantize: Literal["4bit"] | None = None


class Optimization(Section):
    """How one stage trains; a step is `batch_size x grad_accum_steps` examples."""

    epochs: Annotated[int, Field(ge=0)]
    # Training ends after so many steps where the epochs have more of them.
    max_steps: Count | None = None
    learning_rate: Positive
    # As transformers' get_scheduler calls them.
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    batch_size: Count
    grad_accum_steps: Count
    # adamw_8bit: that of bitsandbytes, where it is installed.
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    adam_beta1: DecayRate = 0.9
    adam_beta2: DecayRate = 0.999
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative
    # matrices: parameters of one dimension, norms and biases, have none.
    weight_decay_on: Literal["all", "matrices"] = "all"
    warmup_ratio: Share
    max_grad_norm: Positive
    # true: the model's own dropout; first-epoch: only there, as in the published DPO run.
    dropout: bool | Literal["first-epoch"]
    # null: all weights are trained.
    lora: Lora | None = None

    @model_validator(mode="after")
    def _steps_are_of_epochs(self) -> "Optimization":
        if self.max_steps and not self.epochs:
            raise ValueError(
                f"max_steps: {self.max_steps} asks for steps, and epochs: 0 for none; raise "
                "epochs, or set max_steps to null"
            )
        return self


# From these on, a learning rate suits random weights: it undoes what pretrained ones know.
FOR_RANDOM_WEIGHTS = {"sft": 5e-4, "train": 1e-4}
BY_LORA = 10  # times as much, and so are the usual ones
# How the name of a base ends that has only its shape from elsewhere.
RANDOM_WEIGHTS = " (random weights)"


def warning_of_rate(section: Literal["sft", "train"], asked: Optimization, base: str) -> str | None:
    """What to say where a pretrained base is to be trained at a rate for random weights.

    Args:
        base: what metrics call it.
    """
    random = base == "scratch" or base.endswith(RANDOM_WEIGHTS)
    limit = FOR_RANDOM_WEIGHTS[section] * (BY_LORA if asked.lora else 1)
    if random or not asked.epochs or asked.learning_rate < limit:
        return None
    usual, recipe = "5e-7 to 5e-5,", "demo-smollm2"
    if asked.lora:
        usual, recipe = "5e-6 to 5e-4, by LoRA,", "pretrained-7b-one-gpu"
    return (
        f"{section}.learning_rate is {asked.learning_rate:g}, a rate for random weights, and the "
        f"base is pretrained ({base}): it can undo what the base knows. Usual are {usual} as in "
        f"recipes/{recipe}.yaml"
    )
