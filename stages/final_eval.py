"""final-eval: score the test pairs with the trained policy, against its reference.

Without options it is the pipeline's stage. With them it evaluates any saved model against any
reference on the prepared test pairs, without training.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from preference import command, devices, evaluation, models, params, tables
from preference.files import write_json
from preference.metrics import objective_metrics
from preference.statistics import summary

PAIRS, BASE = Path("data/prepared/test.parquet"), Path("models/base")
POLICY, REFERENCE = Path("models/policy"), Path("data/reference/test.parquet")
METRICS, SCORES = Path("results/metrics/final.json"), Path("data/scores/final.parquet")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, help=f"a model directory (default {POLICY})")
    parser.add_argument(
        "--reference",
        help="a model directory, or a Hub id pinned as OWNER/NAME@COMMIT (default: the cached "
        f"scores in {REFERENCE})",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"metrics file to write (default {METRICS}; standard output where a model is named)",
    )


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    pairs = tables.read_pairs(PAIRS)

    def scores_of(directory: Path, description: str) -> tables.Scores:
        if directory != POLICY:
            models.require_same_tokenizer(directory, BASE)
        logps = evaluation.open_model(directory, pairs.longest, accelerator)
        return evaluation.score(logps, pairs, settings, accelerator, description)

    if args.reference:
        name, _, revision = args.reference.partition("@")
        reference = scores_of(
            models.locate(name, revision or None, "--reference", "@COMMIT after the id"),
            "reference",
        )
    else:
        reference = tables.read_scores(REFERENCE)
    policy = scores_of(args.policy or POLICY, "policy")
    normalize = settings.scoring.length_normalize
    values = {
        **summary(policy, normalize),
        **objective_metrics(policy, reference, settings.train, normalize),
        **devices.context(accelerator),
    }
    if args.output:
        write_json(args.output, values)
    elif args.policy or args.reference:
        # The pipeline's own results stay what they are.
        print(json.dumps(values, indent=2))
    else:
        tables.write_scores(SCORES, policy)
        write_json(METRICS, values)


def names_hub_id(args: Namespace) -> bool:
    return "@" in (args.reference or "")


if __name__ == "__main__":
    command.run(main, arguments=arguments, network=names_hub_id)
