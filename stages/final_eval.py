"""final-eval: score the test pairs with the trained policy, against its reference.

Without options it is the pipeline's stage. With them it evaluates any saved model against any
reference on the prepared test pairs, without training.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from preference import command, devices, models, params, scoring, tables, tokens
from preference.checkpoints import Checkpoints
from preference.files import write_json
from preference.metrics import objective_metrics
from preference.statistics import summary

PAIRS, BASE = Path("data/prepared/test.parquet"), Path("models/base")
POLICY, REFERENCE = Path("models/policy"), Path("data/reference/test.parquet")
METRICS, SCORES = Path("results/metrics/final.json"), Path("data/scores/final.parquet")


def arguments(parser: ArgumentParser) -> None:
    model = "a model directory, or a Hub id pinned as OWNER/NAME@COMMIT"
    parser.add_argument("--policy", help=f"{model} (default {POLICY})")
    parser.add_argument("--reference", help=f"{model} (default: the scores in {REFERENCE})")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"metrics file to write (default {METRICS}; standard output where a model is named)",
    )


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    tokens_per_batch = devices.tokens_per_batch(settings.runtime, accelerator)
    pairs = tables.read_pairs(PAIRS)
    named = args.policy or args.reference

    def scores_of(model: str, description: str) -> tables.Scores:
        name, _, revision = (model, "", "") if Path(model).is_dir() else model.partition("@")
        where = f"--{description}"
        directory = models.locate(name, revision or None, where, "@COMMIT after the id")
        tokens.require_same_tokenizer(directory, BASE)
        scorer = scoring.open_model(directory, pairs.longest, accelerator, settings.runtime)
        with Checkpoints(
            "evaluation" if named else "final-eval",
            accelerator,
            minutes=settings.runtime.checkpoint_minutes,
            inputs=[PAIRS, directory],
        ) as checkpoints:
            return scoring.score(
                scorer, pairs, accelerator, tokens_per_batch, description, checkpoints
            )

    reference = (
        scores_of(args.reference, "reference") if args.reference else tables.read_scores(REFERENCE)
    )
    policy = scores_of(args.policy or str(POLICY), "policy")
    normalize = settings.scoring.length_normalize
    values = {
        **summary(policy, normalize),
        **objective_metrics(policy, reference, settings.train, normalize),
    }
    if not accelerator.is_main_process:
        return
    if args.output:
        write_json(args.output, values)
    elif named:
        # The pipeline's own results stay what they are.
        print(json.dumps(values, indent=2))
    else:
        tables.write_scores(SCORES, policy)
        write_json(METRICS, values)


def is_the_stage(args: Namespace) -> bool:
    return not (args.policy or args.reference or args.output)


def names_hub_id(args: Namespace) -> bool:
    return any(name and not Path(name).is_dir() for name in (args.policy, args.reference))


if __name__ == "__main__":
    command.run(main, arguments=arguments, network=names_hub_id, alone=is_the_stage)
