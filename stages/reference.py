"""reference: score all pairs once with the model after SFT, for every later epoch and beta."""

from argparse import Namespace
from pathlib import Path

from preference import command, devices, params, scoring, tables
from preference.checkpoints import Checkpoints
from preference.files import replacing

PREPARED, MODEL, OUT = Path("data/prepared"), Path("models/sft"), Path("data/reference")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    splits = {name: tables.read_pairs(PREPARED / f"{name}.parquet") for name in ("train", "test")}
    longest = max(pairs.longest for pairs in splits.values())
    scorer = scoring.open_model(MODEL, longest, accelerator, settings.runtime)
    with Checkpoints(
        "reference",
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        inputs=[PREPARED, MODEL],
    ) as checkpoints:
        scores = {
            split: scoring.score(
                scorer, pairs, accelerator, tokens_per_batch, f"reference: {split}", checkpoints
            )
            for split, pairs in splits.items()
        }
        if accelerator.is_main_process:
            with replacing(OUT) as directory:
                for split, found in scores.items():
                    tables.write_scores(directory / f"{split}.parquet", found)


if __name__ == "__main__":
    command.run(main)
