"""`results/report.html`: one file with everything in it, which needs no network and no server."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from preference.report import charts, comparison, length, markdown
from preference.report.figures import Figure, Results
from preference.report.health import Health
from preference.report.render import fill, verbatim
from preference.report.results import Rows
from preference.report.verdict import COLUMNS, Outcome
from preference.store.examples import Examples
from preference.store.index import Index

DIGITS = 4  # of scores in the page, after the point
LABELS = {1: "desirable", 0: "undesirable", -1: "chosen"}  # as `Index` has them


def side_by_side(
    sampled: pa.Table, titles: Mapping[str, str], index: Index
) -> list[dict[str, object]]:
    """What the models answered, by question, under their titles, and the response of the data.

    Args:
        sampled: a table of `tables.SAMPLES`.
        titles: what to call each column of answers.
        index: of the test split; its labels say what responses are that are in no pair.
    """
    # Of a prompt's responses in no pair the first one is shown.
    prompts, first = np.unique(index.prompt_of, return_index=True)
    labels = dict(zip(index.rows[prompts].tolist(), index.labels[first].tolist(), strict=True))
    return [
        {
            "question": row["question"],
            "prompt": row["prompt"].strip(),
            "texts": [
                *((title, row[name]) for name, title in titles.items()),
                (f"{LABELS[labels[row['row']]]} in the data", row["chosen"]),
            ],
        }
        for row in sampled.to_pylist()
    ]


def render(
    results: Results,
    figures: Mapping[str, Sequence[Figure]],
    rows: Rows,
    outcome: Outcome,
    health: Health,
    prepared: Examples,
    answers: Sequence[Mapping[str, object]],
) -> str:
    """The page as HTML; every text of data or models is escaped.

    Args:
        outcome: what is to be said of published results.
        health: whether the run worked.
        prepared: the test split as the models saw it.
        answers: as `side_by_side` gives them.
    """
    settings = results.settings
    first, *_, last = results.scores
    context, index = results.scores[last].context, prepared.index
    return fill(
        "report.html",
        title=f"{last} against the {first}",
        lead=f"{comparison.tested(index)} of {context.get('data', 'unknown data')}, base model "
        f"{context.get('base_model', 'unknown')}, computed on {context.get('device', '?')} in "
        f"{context.get('precision', '?')}.",
        style=verbatim("report.css"),
        script=verbatim("report.js"),
        figures=figures,
        drawn=lambda figure: Markup(charts.svg(figure.spec, figure.caption)),
        rows=rows,
        outcome=outcome,
        health=health,
        published_columns=COLUMNS,
        length_columns=length.COLUMNS,
        answers=answers,
        settings=settings,
        pairs=f"{len(index.pairs):,}" if len(index.pairs) else "",
        sides=list(comparison.sides(index)),
        context=sorted(context.items()),
        params=markdown.params(settings),
        data=_browser_data(results, prepared),
    )


def _browser_data(results: Results, prepared: Examples) -> dict[str, object]:
    """Columns by name, one entry a pair; scores by model and side."""
    index, tokens = prepared.index, next(iter(results.scores.values())).tokens
    texts = [(text, pair) for text in results.texts for pair in text.pairs]
    full = (prepared.lengths >= results.settings.data.max_length)[index.pairs].any(axis=1)
    return {
        "models": list(results.scores),
        "row": index.pair_rows.tolist(),
        "question": [text.question for text, _ in texts],
        "turns": [text.turns for text, _ in texts],
        "chosen": [text.responses[chosen] for text, (chosen, _) in texts],
        "rejected": [text.responses[rejected] for text, (_, rejected) in texts],
        "tokens": tokens[index.pairs].T.tolist(),
        "full": full.tolist(),
        "scores": [
            [np.round(side, DIGITS).tolist() for side in scores.of_pairs(results.normalize)]
            for scores in results.scores.values()
        ],
        # Digits of their own: a margin that is rounded to 0 would change its side.
        "margins": [[float(f"{m:.{DIGITS}g}") for m in ms] for ms in results.margins.values()],
    }
