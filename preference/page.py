"""`results/report.html`: one file with everything in it, which needs no network and no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from preference import params, published
from preference.figures import Results, Section
from preference.rendering import fill, verbatim
from preference.report import Outcome, Rows
from preference.tables import SAMPLES, Pairs, read
from preference.transcripts import questions

DIGITS = 4  # of scores in the page, after the point


@dataclass(frozen=True)
class Answer:
    """What there is to say to one prompt, by who says it."""

    prompt: str
    texts: Mapping[str, str]

    @property
    def question(self) -> str:
        """The last thing that the human said, in one line."""
        said = questions(self.prompt)
        return (said and said[-1]) or " ".join(self.prompt.split())


def read_answers(path: Path, titles: Mapping[str, str]) -> list[Answer]:
    """What the models answered, under their titles.

    Args:
        path: a table of `tables.SAMPLES`.
        titles: what to call each column of answers.
    """
    rows = read(path, SAMPLES).to_pylist()
    return [Answer(row["prompt"], {t: row[name] for name, t in titles.items()}) for row in rows]


def render(
    results: Results,
    sections: Sequence[Section],
    rows: Rows,
    outcome: Outcome,
    *,
    prepared: Pairs,
    answers: Sequence[Answer],
) -> str:
    """The page as HTML; every text of data or models is escaped.

    Args:
        outcome: what is to be said of published results.
        prepared: the test pairs as the models saw them.
    """
    settings = results.settings
    first, *_, last = results.names
    context = results.scores[last].context
    return fill(
        "report.html",
        title=f"{last} against the {first}",
        lead=f"{len(prepared):,} test pairs of {context.get('data', 'unknown data')}, base model "
        f"{context.get('base_model', 'unknown')}, computed on {context.get('device', '?')} in "
        f"{context.get('precision', '?')}.",
        style=verbatim("report.css"),
        script=verbatim("report.js"),
        sections=[
            {
                **vars(section),
                "figures": [
                    {"caption": figure.caption, "svg": Markup(figure.svg)}
                    for figure in section.figures
                ],
            }
            for section in sections
        ],
        models=rows.models,
        differences=rows.differences,
        outcome=outcome,
        published_columns=[title for title, _ in published.COLUMNS],
        normalize=results.normalize,
        answers=[
            {"question": a.question, "prompt": a.prompt.strip(), "texts": a.texts.items()}
            for a in answers
        ],
        answer_tokens=settings.samples.max_new_tokens,
        pairs_count=f"{len(prepared):,}",
        context=sorted(context.items()),
        params=[
            (name, params.spelled(value))
            for name, value in params.flat(settings)
            if not name.startswith("runtime.")
        ],
        data=_browser_data(results, prepared),
    )


def _browser_data(results: Results, prepared: Pairs) -> dict[str, object]:
    """Columns by name, one entry a pair; scores by model and side."""
    first = next(iter(results.scores.values()))
    return {
        "models": results.names,
        "row": prepared.rows.tolist(),
        "prompt": [pair.prompt for pair in results.pairs],
        "chosen": [pair.chosen for pair in results.pairs],
        "rejected": [pair.rejected for pair in results.pairs],
        "tokens": [first.chosen_tokens.tolist(), first.rejected_tokens.tolist()],
        "full": [
            bool(longest >= results.settings.data.max_length) for longest in prepared.longest_sides
        ],
        "scores": [
            [np.round(side, DIGITS).tolist() for side in scores.responses(results.normalize)]
            for scores in results.scores.values()
        ],
        # Digits of their own: a margin that is rounded to 0 would change its side.
        "margins": [[float(f"{m:.{DIGITS}g}") for m in ms] for ms in results.margins.values()],
    }
