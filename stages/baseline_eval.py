"""baseline-eval: score the test split with the untrained base."""

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.evaluation.scoring import score_saved
from preference.evaluation.summary import headline, summary
from preference.runtime import session
from preference.store import examples, scores
from preference.store.text import write_json

PREPARED, MODEL = Path("data/prepared/test.parquet"), Path("models/base")
METRICS, HEADLINE = Path("results/metrics/baseline.json"), Path("results/headline/baseline.json")
SCORES = Path("data/scores/baseline.parquet")


def main(args: Namespace) -> None:
    settings = params.load()
    with session.opened("baseline-eval", settings, [PREPARED, MODEL]) as run:
        found = score_saved(MODEL, examples.read(PREPARED), run, "baseline")
        if run.accelerator.is_main_process:
            scores.write(SCORES, found)
            values = summary(found, settings.scoring.length_normalize)
            write_json(METRICS, values)
            write_json(HEADLINE, headline(values))


if __name__ == "__main__":
    stage.run(main)
