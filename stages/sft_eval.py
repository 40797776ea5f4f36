"""sft-eval: the model after SFT on the test pairs, from the reference's scores: no model runs."""

from argparse import Namespace
from pathlib import Path

from preference import command, params, tables
from preference.files import write_json
from preference.statistics import summary

SCORES, METRICS = Path("data/reference/test.parquet"), Path("results/metrics/sft.json")


def main(args: Namespace) -> None:
    normalize = params.load().scoring.length_normalize
    write_json(METRICS, summary(tables.read_scores(SCORES), normalize))


if __name__ == "__main__":
    command.run(main)
