"""sft-eval: the model after SFT on the test pairs, from the reference's scores: no model runs."""

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.evaluation.summary import headline, summary
from preference.store import scores
from preference.store.text import write_json

SCORES = Path("data/reference/test.parquet")
METRICS, HEADLINE = Path("results/metrics/sft.json"), Path("results/headline/sft.json")


def main(args: Namespace) -> None:
    normalize = params.load().scoring.length_normalize
    values = summary(scores.read(SCORES), normalize)
    write_json(METRICS, values)
    write_json(HEADLINE, headline(values))


if __name__ == "__main__":
    stage.run(main)
