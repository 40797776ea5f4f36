"""reference: score all pairs once with the model after SFT, for every later epoch and beta."""

from argparse import Namespace
from pathlib import Path

from preference import command, devices, evaluation, params, tables
from preference.files import replacing, write_json
from preference.statistics import summary

PREPARED, MODEL = Path("data/prepared"), Path("models/sft")
OUT, METRICS = Path("data/reference"), Path("results/metrics/sft.json")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    splits = {name: tables.read_pairs(PREPARED / f"{name}.parquet") for name in ("train", "test")}
    longest = max(pairs.longest for pairs in splits.values())
    logps = evaluation.open_model(MODEL, longest, accelerator)
    with replacing(OUT) as directory:
        for split, pairs in splits.items():
            scores = evaluation.score(logps, pairs, settings, accelerator, f"reference: {split}")
            tables.write_scores(directory / f"{split}.parquet", scores)
    metrics = summary(scores, settings.scoring.length_normalize)
    write_json(METRICS, {**metrics, **devices.context(accelerator)})


if __name__ == "__main__":
    command.run(main)
