"""report: what training changed and how sure that is, as a table, a chart and a page to browse."""

import logging
from argparse import Namespace
from pathlib import Path

from preference import command, figures, page, params, report, tables
from preference.files import write_json, write_text
from preference.metrics import pair_margins

METRICS, CURVES = Path("results/metrics"), Path("results/curves")
SCORES = {
    "baseline": Path("data/scores/baseline.parquet"),
    "sft": Path("data/reference/test.parquet"),
    "final": Path("data/scores/final.parquet"),
}
RAW, PREPARED = Path("data/raw/test.parquet"), Path("data/prepared/test.parquet")
SAMPLES = Path("data/samples.parquet")
TABLE, CHART = Path("results/table.md"), Path("results/chart.svg")
PAGE, COMPARISON = Path("results/report.html"), Path("results/comparison.json")
COMPARED = (("baseline", "final"), ("baseline", "sft"), ("sft", "final"))


def main(args: Namespace) -> None:
    settings = params.load()
    normalize, decimals = settings.scoring.length_normalize, settings.report.decimals
    trained = f"SFT + {settings.train.objective.upper()}"
    titles = {"baseline": "baseline", "sft": "SFT", "final": trained}
    scores = {name: tables.read_scores(path) for name, path in SCORES.items()}
    contexts = {name: values.context for name, values in scores.items()}
    if len({tuple(context.items()) for context in contexts.values()}) > 1:
        logging.warning("the models were not scored with the same: %s", contexts)
    compared = {
        (before, after): report.compare(scores[before], scores[after], normalize)
        for before, after in COMPARED
    }
    rows = report.rows(
        {title: report.read_metrics(METRICS / f"{name}.json") for name, title in titles.items()},
        {f"{titles[after]} - {titles[before]}": c for (before, after), c in compared.items()},
        decimals,
    )
    margins = {name: pair_margins(found, normalize) for name, found in scores.items()}
    outcome = report.outcome(settings, margins, titles)
    prepared = tables.read_pairs(PREPARED)
    results = figures.Results(
        settings,
        {titles[name]: found for name, found in scores.items()},
        report.read_texts(RAW, prepared.rows),
        (CURVES / "sft", CURVES / "train"),
    )
    sampled = {"base": titles["baseline"], "sft": titles["sft"], "policy": titles["final"]}
    sampled["chosen"] = "chosen in the data"
    text = page.render(
        results,
        figures.sections(results),
        rows,
        outcome,
        prepared=prepared,
        answers=page.read_answers(SAMPLES, sampled),
    )
    write_json(COMPARISON, report.flat(compared))
    write_text(CHART, figures.overview(results))
    write_text(PAGE, text)
    write_text(TABLE, report.table(rows, outcome))
    logging.info("%s, %s: written", TABLE, PAGE)


if __name__ == "__main__":
    command.run(main)
