"""train: tune the model after SFT on the preferences, on the cached reference."""

from preference.runtime import heap

heap.restart_with_tunables()

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import optimization, params, stage
from preference.evaluation.metrics import log_ratio_intervals, pair_metrics
from preference.evaluation.scoring import score
from preference.losses import named, needless, task
from preference.model import scorer
from preference.runtime import session
from preference.store import examples, scores
from preference.store.scores import Metrics, Scores
from preference.training import loop, optimizers
from preference.training.keeping import Keeper

PREPARED, REFERENCE, SFT = Path("data/prepared"), Path("data/reference"), Path("models/sft")
OUT, CURVES = Path("models/policy"), Path("results/curves/train")


def main(args: Namespace) -> None:
    settings = params.load()
    normalize, objective = settings.scoring.length_normalize, named(settings.train.objective)
    files = [f"{name}.parquet" for name in ("train", settings.train.evaluate)]
    train, judged = (examples.read(PREPARED / file) for file in files)
    if spare := needless(settings.train.objective, {file.stem for file in REFERENCE.glob("*")}):
        logging.info("%s", spare)
    reference = scores.read(REFERENCE / files[1])
    anchors = scores.read(REFERENCE / files[0]) if objective.reference else None
    beside = objective.beside and scores.read(REFERENCE / f"{objective.beside}.parquet")

    def metrics(policy: Scores) -> Metrics:
        own = objective.against_reference(policy, reference, settings.train, normalize)
        sure = log_ratio_intervals(policy, reference, normalize)
        return pair_metrics(policy, normalize) | own | sure

    determined_by = [settings.seed, normalize, settings.train]
    inputs = [PREPARED, REFERENCE, SFT]
    with session.opened("train", settings, inputs, determined_by) as run:
        optimizers.require(run.accelerator, train=settings.train)
        longest, lora = max(train.longest, judged.longest), settings.train.lora
        model = scorer.open_model(SFT, longest, run, to_train=True, adapters=lora)
        keeper = Keeper(run, SFT, OUT, best=settings.train.keep == "best")
        if unsuited := optimization.warning_of_rate("train", settings.train, model.base_model):
            logging.warning("%s", unsuited)
        loop.fit(
            model,
            task(train, anchors, settings, beside),
            settings.train,
            run,
            curves=CURVES,
            evaluate=lambda model: keeper.judged(
                model, metrics(score(model, judged, run, f"train: {settings.train.evaluate}"))
            ),
            save=keeper.finish,
            # It begins as its own reference.
            start=metrics(reference),
        )


if __name__ == "__main__":
    stage.run(main)
