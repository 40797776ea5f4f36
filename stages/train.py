"""train: tune the model after SFT on the preferences, with DPO or KTO, on the cached reference."""

from argparse import Namespace
from pathlib import Path

from torch import nn

from preference import (
    command,
    devices,
    distribution,
    models,
    params,
    scoring,
    tables,
    training,
    tuning,
)
from preference.checkpoints import Checkpoints
from preference.metrics import all_metrics

PREPARED, REFERENCE, SFT = Path("data/prepared"), Path("data/reference"), Path("models/sft")
OUT, CURVES = Path("models/policy"), Path("results/curves/train")


def main(args: Namespace) -> None:
    settings = params.load()
    normalize = settings.scoring.length_normalize
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    pairs = tables.read_pairs(PREPARED / "train.parquet")
    test = tables.read_pairs(PREPARED / "test.parquet")
    reference = tables.read_scores(REFERENCE / "test.parquet")
    objective = tuning.OBJECTIVES[settings.train.objective](
        pairs,
        tables.read_scores(REFERENCE / "train.parquet"),
        settings.train,
        normalize,
        settings.seed,
    )
    scorer = scoring.open_model(
        SFT, max(pairs.longest, test.longest), accelerator, settings.runtime, to_train=True
    )

    title = f"SFT + {settings.train.objective.upper()}"
    scores = {"SFT": reference, title: reference}

    def evaluate(model: nn.Module) -> dict[str, float]:
        found = scoring.score(model, test, accelerator, tokens_per_batch, "train: test")
        scores[title] = found
        return all_metrics(found, reference, settings.train, normalize)

    def save(model: nn.Module) -> None:
        # Only now: its statistics take long to import.
        from preference.card import model_card

        sft = getattr(scorer.model.config, models.SFT, {})
        card = model_card(settings, sft, pairs, test, scores)
        distribution.save(accelerator, model, SFT, OUT, card)

    with Checkpoints(
        "train",
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        determined_by=[settings.seed, normalize, settings.train],
        inputs=[PREPARED, REFERENCE, SFT],
    ) as checkpoints:
        training.fit(
            scorer,
            objective,
            pairs,
            settings.train,
            accelerator,
            seed=settings.seed,
            tokens_per_batch=tokens_per_batch,
            evaluate=evaluate,
            start=all_metrics(reference, reference, settings.train, normalize),
            save=save,
            curves=CURVES,
            description="train",
            checkpoints=checkpoints,
            tensorboard=settings.runtime.tensorboard,
        )


if __name__ == "__main__":
    command.run(main)
