"""sft-warmup: fine-tune the base on the responses that the data prefer."""

from preference.runtime import heap

heap.restart_with_tunables()

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import optimization, params, stage
from preference.evaluation.metrics import both_ways
from preference.evaluation.scoring import score
from preference.model import saving, scorer
from preference.objectives import sft
from preference.runtime import session
from preference.store import examples
from preference.training import loop, optimizers

PREPARED, BASE = Path("data/prepared"), Path("models/base")
OUT, CURVES = Path("models/sft"), Path("results/curves/sft")


def main(args: Namespace) -> None:
    settings = params.load()
    split = settings.train.evaluate
    train, judged = (examples.read(PREPARED / f"{name}.parquet") for name in ("train", split))
    determined_by = [settings.seed, settings.sft, split]
    with session.opened("sft-warmup", settings, [PREPARED, BASE], determined_by) as run:
        # What would fail after SFT is refused before it.
        optimizers.require(run.accelerator, sft=settings.sft, train=settings.train)
        lora, longest = settings.sft.lora, max(train.longest, judged.longest)
        model = scorer.open_model(BASE, longest, run, to_train=True, adapters=lora)
        if unsuited := optimization.warning_of_rate("sft", settings.sft, model.base_model):
            logging.warning("%s", unsuited)
        loop.fit(
            model,
            sft.task(train, all_turns=settings.sft.turns == "all"),
            settings.sft,
            run,
            curves=CURVES,
            # How the results are scored is no choice of this stage.
            evaluate=lambda model: both_ways(score(model, judged, run, f"sft: {split}")),
            # What training begins with, and its reference, is one model.
            save=lambda model: saving.save(run.accelerator, model, BASE, OUT, whole=True),
        )


if __name__ == "__main__":
    stage.run(main)
