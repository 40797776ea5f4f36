"""reference: score all responses once with the model after SFT, for every later epoch and beta."""

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.files import replacing
from preference.evaluation.scoring import score
from preference.model.scorer import open_model
from preference.runtime import session
from preference.store import examples, scores

PREPARED, MODEL, OUT = Path("data/prepared"), Path("models/sft"), Path("data/reference")


def main(args: Namespace) -> None:
    splits = {file.stem: examples.read(file) for file in sorted(PREPARED.glob("[!.]*.parquet"))}
    with session.opened("reference", params.load(), [PREPARED, MODEL]) as run:
        scorer = open_model(MODEL, max(split.longest for split in splits.values()), run)
        found = {
            name: score(scorer, split, run, f"reference: {name}", keep=True)
            for name, split in splits.items()
        }
        if run.accelerator.is_main_process:
            with replacing(OUT) as directory:
                for name, of_split in found.items():
                    scores.write(directory / f"{name}.parquet", of_split)


if __name__ == "__main__":
    stage.run(main)
