"""baseline-eval: score the test pairs with the untrained base."""

from argparse import Namespace
from pathlib import Path

from preference import command, devices, evaluation, params, tables
from preference.files import write_json
from preference.statistics import summary

PAIRS, MODEL = Path("data/prepared/test.parquet"), Path("models/base")
METRICS, SCORES = (
    Path("results/metrics/baseline.json"),
    Path("data/scores/baseline.parquet"),
)


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    pairs = tables.read_pairs(PAIRS)
    logps = evaluation.open_model(MODEL, pairs.longest, accelerator)
    scores = evaluation.score(logps, pairs, settings, accelerator, "baseline")
    tables.write_scores(SCORES, scores)
    metrics = summary(scores, settings.scoring.length_normalize)
    write_json(METRICS, {**metrics, **devices.context(accelerator)})


if __name__ == "__main__":
    command.run(main)
