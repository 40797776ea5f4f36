"""final-eval: score the test split with the trained policy, against its reference.

Without options it is the pipeline's stage. With them it evaluates any saved model against any
reference on the prepared test split, without training.
"""

import json
from argparse import ArgumentParser, Namespace
from hashlib import sha256
from pathlib import Path

from preference.core import params, stage
from preference.data import tokens
from preference.evaluation.metrics import chosen_less_likely
from preference.evaluation.scoring import score_saved
from preference.evaluation.summary import headline, summary
from preference.losses import named
from preference.model import directories
from preference.runtime import session
from preference.store import examples, scores
from preference.store.text import write_json

PREPARED, BASE = Path("data/prepared/test.parquet"), Path("models/base")
POLICY, REFERENCE = Path("models/policy"), Path("data/reference/test.parquet")
METRICS, HEADLINE = Path("results/metrics/final.json"), Path("results/headline/final.json")
SCORES = Path("data/scores/final.parquet")
SFT = Path("models/sft")  # which a policy that is an adapter is merged into


def arguments(parser: ArgumentParser) -> None:
    """Its options, all None in the pipeline."""
    model = "a model directory, or a Hub id pinned as OWNER/NAME@COMMIT"
    parser.add_argument("--policy", help=f"{model} (default: the pipeline's)")
    kept = f"{model} (default: the pipeline's, whose scores are kept)"
    parser.add_argument("--reference", help=kept)
    where = "metrics file (default: the pipeline's; where a model is named, standard output)"
    parser.add_argument("--output", type=Path, help=where)


def evaluation(args: Namespace) -> str | None:
    """A name for the evaluation of models that were named; None for the pipeline's own models."""
    models = [args.policy, args.reference]
    return f"evaluation-{sha256(repr(models).encode()).hexdigest()[:16]}" if any(models) else None


def main(args: Namespace) -> None:
    settings = params.load()
    normalize, test = settings.scoring.length_normalize, examples.read(PREPARED)
    models = {"policy": args.policy, "reference": args.reference}
    located = {"policy": POLICY} | {
        role: directories.locate_pinned(m, f"--{role}") for role, m in models.items() if m
    }
    found = {} if args.reference else {"reference": scores.read(REFERENCE)}
    inputs = [PREPARED, *(part for place in located.values() for part in directories.parts(place))]
    name = evaluation(args)
    with session.opened(name or "final-eval", settings, inputs) as run:
        for role, directory in located.items():
            tokens.require_same_tokenizer(directories.tokenizer_of(directory), BASE)
            found[role] = score_saved(directory, test, run, role)
        policy, reference = found["policy"], found["reference"]
        objective = named(settings.train.objective)
        own = objective.against_reference(policy, reference, settings.train, normalize)
        values = summary(policy, normalize) | own | chosen_less_likely(policy, reference)
        if not run.accelerator.is_main_process:
            return
        if args.output:
            write_json(args.output, values)
        elif name:
            # The pipeline's own results stay what they are.
            print(json.dumps(values, indent=2))
        else:
            scores.write(SCORES, policy)
            write_json(METRICS, values)
            write_json(HEADLINE, headline(values))


if __name__ == "__main__":
    stage.run(
        main,
        arguments=arguments,
        network=lambda args: directories.on_hub(args.policy, args.reference),
        lock=evaluation,
    )
