"""reference: score the responses once with the model after SFT, for every later epoch and beta."""

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.files import replacing
from preference.evaluation.scoring import score
from preference.model.scorer import open_model
from preference.objectives.mismatched import mismatched
from preference.objectives.public_length import to_public_length
from preference.runtime import session
from preference.store import examples, scores

PREPARED, MODEL, OUT = Path("data/prepared"), Path("models/sft"), Path("data/reference")


def main(args: Namespace) -> None:
    settings = params.load()
    splits = {file.stem: examples.read(file) for file in sorted(PREPARED.glob("[!.]*.parquet"))}
    determined_by: list[object] = [settings.reference]
    if settings.reference.train == "none":
        del splits["train"]
    elif settings.reference.train == "mismatched":
        determined_by.append(settings.seed)
        splits["mismatched"] = mismatched(splits["train"], settings.seed)
    elif settings.reference.train == "public_length":
        splits["public_length"] = to_public_length(splits["train"])
    with session.opened("reference", settings, [PREPARED, MODEL], determined_by) as run:
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
