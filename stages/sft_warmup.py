"""sft-warmup: fine-tune the base on the responses that the data prefer."""

from preference.runtime import heap

heap.restart_with_tunables()

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.evaluation.metrics import both_ways
from preference.evaluation.scoring import score
from preference.model import saving, scorer
from preference.objectives import sft
from preference.runtime import session
from preference.store import examples
from preference.training import loop

PREPARED, BASE = Path("data/prepared"), Path("models/base")
OUT, CURVES = Path("models/sft"), Path("results/curves/sft")


def main(args: Namespace) -> None:
    settings = params.load()
    train, test = (examples.read(PREPARED / f"{name}.parquet") for name in ("train", "test"))
    determined_by = [settings.seed, settings.sft]
    with session.opened("sft-warmup", settings, [PREPARED, BASE], determined_by) as run:
        model = scorer.open_model(BASE, max(train.longest, test.longest), run, to_train=True)
        loop.fit(
            model,
            sft.task(train),
            settings.sft,
            run,
            curves=CURVES,
            # How the results are scored is no choice of this stage.
            evaluate=lambda model: both_ways(score(model, test, run, "sft: test")),
            save=lambda model: saving.save(run.accelerator, model, BASE, OUT),
        )


if __name__ == "__main__":
    stage.run(main)
