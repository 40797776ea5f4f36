"""baseline-eval: score the test pairs with the untrained base."""

from argparse import Namespace
from pathlib import Path

from preference import command, devices, params, scoring, tables
from preference.checkpoints import Checkpoints
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
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    pairs = tables.read_pairs(PAIRS)
    scorer = scoring.open_model(MODEL, pairs.longest, accelerator, settings.runtime)
    with Checkpoints(
        "baseline-eval",
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        inputs=[PAIRS, MODEL],
    ) as checkpoints:
        scores = scoring.score(
            scorer, pairs, accelerator, tokens_per_batch, "baseline", checkpoints
        )
        if accelerator.is_main_process:
            tables.write_scores(SCORES, scores)
            write_json(METRICS, summary(scores, settings.scoring.length_normalize))


if __name__ == "__main__":
    command.run(main)
