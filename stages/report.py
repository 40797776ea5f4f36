"""report: write results/table.md, what each stage of training changed and how sure that is."""

import logging
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from preference import command, params, report, tables
from preference.files import write_json, write_text

METRICS = Path("results/metrics")
SCORES = {
    "baseline": Path("data/scores/baseline.parquet"),
    "sft": Path("data/reference/test.parquet"),
    "final": Path("data/scores/final.parquet"),
}
TABLE, COMPARISON = Path("results/table.md"), Path("results/comparison.json")


def main(args: Namespace) -> None:
    settings = params.load()
    trained = f"SFT + {settings.train.objective.upper()}"
    titles = {"baseline": "baseline", "sft": "SFT", "final": trained}
    scores = {name: tables.read_scores(path) for name, path in SCORES.items()}
    contexts = {name: values.context for name, values in scores.items()}
    if len({tuple(context.items()) for context in contexts.values()}) > 1:
        logging.warning("the models were not scored with the same: %s", contexts)
    comparisons = {
        (before, after): report.compare(
            scores[before], scores[after], settings.scoring.length_normalize
        )
        for before, after in (
            ("baseline", "final"),
            ("baseline", "sft"),
            ("sft", "final"),
        )
    }
    table = report.table(
        {title: report.read_metrics(METRICS / f"{name}.json") for name, title in titles.items()},
        {f"{titles[after]} - {titles[before]}": c for (before, after), c in comparisons.items()},
        settings.report.decimals,
    )
    write_json(
        COMPARISON,
        {
            f"{after}_vs_{before}_{metric}_{field}": value
            for (before, after), comparison in comparisons.items()
            for metric, difference in comparison.items()
            for field, value in asdict(difference).items()
        },
    )
    write_text(TABLE, table)
    logging.info("%s: written", TABLE)


if __name__ == "__main__":
    command.run(main)
