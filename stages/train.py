"""train: tune the model after SFT on the preferences, on the cached reference."""

from preference.runtime import heap

heap.restart_with_tunables()

from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.evaluation.metrics import pair_metrics
from preference.evaluation.scoring import score
from preference.model import saving, scorer
from preference.objectives.registry import named, task
from preference.runtime import session
from preference.store import examples, scores
from preference.store.scores import Metrics, Scores
from preference.training import loop

PREPARED, REFERENCE, SFT = Path("data/prepared"), Path("data/reference"), Path("models/sft")
OUT, CURVES = Path("models/policy"), Path("results/curves/train")


def main(args: Namespace) -> None:
    settings = params.load()
    normalize, objective = settings.scoring.length_normalize, named(settings.train.objective)
    train, test = (examples.read(PREPARED / f"{name}.parquet") for name in ("train", "test"))
    anchors, reference = (scores.read(REFERENCE / f"{name}.parquet") for name in ("train", "test"))

    def metrics(policy: Scores) -> Metrics:
        own = objective.against_reference(policy, reference, settings.train, normalize)
        return pair_metrics(policy, normalize) | own

    determined_by = [settings.seed, normalize, settings.train]
    inputs = [PREPARED, REFERENCE, SFT]
    with session.opened("train", settings, inputs, determined_by) as run:
        model = scorer.open_model(SFT, max(train.longest, test.longest), run, to_train=True)
        loop.fit(
            model,
            task(train, anchors, settings),
            settings.train,
            run,
            curves=CURVES,
            evaluate=lambda model: metrics(score(model, test, run, "train: test")),
            save=lambda model: saving.save(run.accelerator, model, SFT, OUT),
            # It begins as its own reference.
            start=metrics(reference),
        )


if __name__ == "__main__":
    stage.run(main)
