"""Keep a run's results under results/NAME, to be committed beside those of other runs.

The data's texts stay out, since not everybody may hand them on: of a sampled answer's prompt only
the row is named.

Use: python -m tools.keep NAME, which `make repro KEEP=NAME` does after the run.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from preference.core import params
from preference.core.errors import InputError
from preference.core.files import replacing
from preference.store import tables

RESULTS, SAMPLES = Path("results"), Path("data/samples.parquet")
KEPT = (
    params.PARAMS_FILE,
    *(RESULTS / name for name in ("table.md", "chart.svg", "comparison.json", "metrics")),
)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
ANSWERED = {"base": "base", "sft": "SFT", "policy": "policy"}


def answers() -> str:
    """What the models answered, as Markdown: a section a prompt, which its row stands for."""
    lines = ["# Answers", "", "To the prompts of these rows of the test data, counted from 0."]
    for row in tables.read(SAMPLES, tables.SAMPLES).to_pylist():
        lines += ["", f"## Row {row['row']}"]
        for column, title in ANSWERED.items():
            # As code: nothing that a model says is taken for Markdown.
            lines += ["", f"{title}:", "", *(f"    {line}" for line in row[column].splitlines())]
    return "\n".join(lines) + "\n"


def keep(name: str) -> Path:
    """Copy what says how a run went to `results/name`, in place of what stood there.

    Raises:
        InputError: the name is none, or one of the pipeline's own; or there are no results.
    """
    target = RESULTS / name
    if not NAME.fullmatch(name) or (target.exists() and not (target / "answers.md").exists()):
        raise InputError(
            f"KEEP={name}: take a name of lower-case letters, digits, '.', '_' and '-' that "
            f"results/ does not have yet, or has from a run that was kept"
        )
    for path in (*KEPT, SAMPLES):
        if not path.exists():
            raise InputError(f"{path} is not there; run make repro first")
    with replacing(target) as temporary:
        temporary.mkdir()
        for path in KEPT:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, temporary / path.name)
        (temporary / "answers.md").write_text(answers(), encoding="utf-8")
    return target


def main(names: Sequence[str]) -> None:
    try:
        for name in names:
            print(f"{keep(name)}: kept")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
