"""sft-eval: the model after SFT on the test pairs, from the reference's scores: no model runs."""

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.evaluation.statistics import summary
from preference.store import scores
from preference.store.text import write_json

SCORES, METRICS = Path("data/reference/test.parquet"), Path("results/metrics/sft.json")


def main(args: Namespace) -> None:
    normalize = params.load().scoring.length_normalize
    write_json(METRICS, summary(scores.read(SCORES), normalize))


if __name__ == "__main__":
    stage.run(main)
