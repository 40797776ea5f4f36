"""reference: score all pairs once with the model after SFT, for every later epoch and beta."""

from argparse import Namespace
from pathlib import Path

from preference import command, devices, evaluation, params, tables
from preference.files import replacing, write_json

PREPARED, MODEL = Path("data/prepared"), Path("models/sft")
OUT, METRICS = Path("data/reference"), Path("results/metrics/sft.json")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    logps = evaluation.open_model(MODEL, settings, accelerator)
    with replacing(OUT) as directory:
        for split in ("train", "test"):
            pairs = tables.read_pairs(PREPARED / f"{split}.parquet")
            scores = evaluation.score(logps, pairs, settings, accelerator, f"reference: {split}")
            tables.write_scores(directory / f"{split}.parquet", scores)
    metrics = evaluation.summary(scores, settings.scoring.length_normalize)
    write_json(METRICS, {**metrics, **devices.context(accelerator)})


if __name__ == "__main__":
    command.run(main)
