"""final-eval: score the test pairs with the trained policy, against its reference.

Without options it is the pipeline's stage. With them it evaluates any saved model against any
reference on the prepared test pairs, without training.
"""

import json
from argparse import Namespace
from pathlib import Path

from preference import command, devices, evaluation, models, params, scoring, tables, tokens
from preference.checkpoints import Checkpoints
from preference.files import write_json
from preference.metrics import objective_metrics
from preference.statistics import summary

PAIRS, BASE = Path("data/prepared/test.parquet"), Path("models/base")
POLICY, REFERENCE = Path("models/policy"), Path("data/reference/test.parquet")
METRICS, SCORES = Path("results/metrics/final.json"), Path("data/scores/final.parquet")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    normalize = settings.scoring.length_normalize
    pairs = tables.read_pairs(PAIRS)
    named = {"policy": args.policy or str(POLICY), "reference": args.reference}
    located = {role: models.locate_pinned(m, f"--{role}") for role, m in named.items() if m}
    scores = {} if args.reference else {"reference": tables.read_scores(REFERENCE)}
    name = evaluation.name(args)
    with Checkpoints(
        name or "final-eval",
        accelerator,
        minutes=settings.runtime.checkpoint_minutes,
        inputs=[PAIRS, *located.values()],
    ) as checkpoints:
        for role, directory in located.items():
            tokens.require_same_tokenizer(directory, BASE)
            scorer = scoring.open_model(directory, pairs.longest, accelerator, settings.runtime)
            scores[role] = scoring.score(
                scorer, pairs, accelerator, tokens_per_batch, role, checkpoints
            )
        values = {
            **summary(scores["policy"], normalize),
            **objective_metrics(scores["policy"], scores["reference"], settings.train, normalize),
        }
        if not accelerator.is_main_process:
            return
        if args.output:
            write_json(args.output, values)
        elif name:
            # The pipeline's own results stay what they are.
            print(json.dumps(values, indent=2))
        else:
            tables.write_scores(SCORES, scores["policy"])
            write_json(METRICS, values)


if __name__ == "__main__":
    command.run(
        main,
        arguments=evaluation.arguments,
        network=evaluation.names_hub_id,
        lock=evaluation.name,
    )
