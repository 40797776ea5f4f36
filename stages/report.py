"""report: whether training worked and what it changed, as a table, a chart, a page and a card."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.losses import named
from preference.report import (
    analysis,
    card,
    comparison,
    figures,
    findings,
    health,
    length,
    page,
    results,
    verdict,
)
from preference.store import examples, scores, tables, texts
from preference.store.scores import pair_margins
from preference.store.text import write_json, write_text

METRICS, CURVES = Path("results/metrics"), Path("results/curves")
SCORES = {
    "baseline": Path("data/scores/baseline.parquet"),
    "sft": Path("data/reference/test.parquet"),
    "final": Path("data/scores/final.parquet"),
}
PREPARED, SAMPLES = Path("data/prepared/test.parquet"), Path("data/samples.parquet")
TABLE, CHART = Path("results/table.md"), Path("results/chart.svg")
PAGE, CARD = Path("results/report.html"), Path("results/card.md")
COMPARISON = Path("results/comparison.json")
COMPARED = (("baseline", "final"), ("baseline", "sft"), ("sft", "final"))
ANSWERED = {"baseline": "base", "sft": "sft", "final": "policy"}


def main(args: Namespace) -> None:
    settings = params.load()
    normalize, objective = settings.scoring.length_normalize, named(settings.train.objective)
    titles = {"baseline": "baseline", "sft": "SFT", "final": objective.trained}
    found = {name: scores.read(path) for name, path in SCORES.items()}
    comparison.warn_of_contexts(found)
    compared = {
        (before, after): comparison.compare(found[before], found[after], normalize)
        for before, after in COMPARED
    }
    metrics = {name: results.read_metrics(METRICS / f"{name}.json") for name in titles}
    counts = results.read_metrics(METRICS / "prepare.json")
    by_title = {titles[name]: of_model for name, of_model in found.items()}
    rows = results.rows(
        {titles[name]: values for name, values in metrics.items()},
        {f"{titles[after]} - {titles[before]}": c for (before, after), c in compared.items()},
        settings.report.decimals,
        length.rows(by_title, counts, normalize, settings.report.decimals),
    )
    margins = {name: pair_margins(of_model, normalize) for name, of_model in found.items()}
    curve = analysis.read_curve(CURVES / "train", "epochs", "pair_acc")
    outcome = verdict.outcome(settings, margins, titles, dict(curve))
    sampled = tables.read(SAMPLES, tables.SAMPLES)
    said = {name: sampled[column].to_pylist() for name, column in ANSWERED.items()}
    judged = health.judge(findings.Run(settings, found, compared, counts, said, titles, objective))
    curves = CURVES / "sft", CURVES / "train"
    shown = figures.Results(settings, objective.title, by_title, texts.read(PREPARED), curves)
    drawn, prepared = figures.figures(shown), examples.read(PREPARED)
    called = {ANSWERED[name]: title for name, title in titles.items()}
    answers = page.side_by_side(sampled, called, prepared.index)
    context = found["final"].context
    written = card.model_card(settings, titles["final"], rows, context, counts, judged)
    write_json(COMPARISON, comparison.flat(compared) | {"verdict": judged.word})
    write_text(CHART, figures.overview(shown))
    write_text(PAGE, page.render(shown, drawn, rows, outcome, judged, prepared, answers))
    write_text(CARD, written)
    write_text(TABLE, results.table(rows, outcome, judged))
    judged.log()
    logging.info("%s, %s: written", TABLE, PAGE)


if __name__ == "__main__":
    stage.run(main)
