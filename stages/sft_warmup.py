"""sft-warmup: fine-tune the base on the chosen responses."""

from argparse import Namespace
from pathlib import Path

from torch import nn

from preference import (
    command,
    devices,
    distribution,
    models,
    objectives,
    params,
    scoring,
    tables,
    training,
)
from preference.checkpoints import Checkpoints
from preference.metrics import pair_metrics

PREPARED, BASE = Path("data/prepared"), Path("models/base")
OUT, CURVES = Path("models/sft"), Path("results/curves/sft")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    pairs = tables.read_pairs(PREPARED / "train.parquet")
    test = tables.read_pairs(PREPARED / "test.parquet")
    scorer = scoring.open_model(
        BASE, max(pairs.longest, test.longest), accelerator, settings.runtime, to_train=True
    )
    setattr(scorer.model.config, models.SFT, settings.sft.model_dump())

    def evaluate(model: nn.Module) -> dict[str, float]:
        scores = scoring.score(model, test, accelerator, tokens_per_batch, "sft: test")
        # Both ways: how the results are scored is no choice of this stage.
        sums = pair_metrics(scores, normalize=False)
        return pair_metrics(scores, normalize=True) | {f"{k}_sum": v for k, v in sums.items()}

    with Checkpoints(
        "sft-warmup",
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        determined_by=[settings.seed, settings.sft],
        inputs=[PREPARED, BASE],
    ) as checkpoints:
        training.fit(
            scorer,
            objectives.sft(pairs),
            pairs,
            settings.sft,
            accelerator,
            seed=settings.seed,
            tokens_per_batch=tokens_per_batch,
            evaluate=evaluate,
            save=lambda model: distribution.save(accelerator, model, BASE, OUT),
            curves=CURVES,
            description="sft",
            checkpoints=checkpoints,
            tensorboard=settings.runtime.tensorboard,
        )


if __name__ == "__main__":
    command.run(main)
