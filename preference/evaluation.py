"""The command line of an evaluation: which models, and what it is called."""

from argparse import ArgumentParser, Namespace
from hashlib import sha256
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The options of `final-eval`, all None in the pipeline."""
    model = "a model directory, or a Hub id pinned as OWNER/NAME@COMMIT"
    parser.add_argument("--policy", help=f"{model} (default: the pipeline's)")
    parser.add_argument(
        "--reference", help=f"{model} (default: the pipeline's, whose scores are kept)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="metrics file (default: the pipeline's; where a model is named, standard output)",
    )


def name(args: Namespace) -> str | None:
    """A name for the evaluation of models that were named; None for the pipeline's own models."""
    named = [args.policy, args.reference]
    return f"evaluation-{sha256(repr(named).encode()).hexdigest()[:16]}" if any(named) else None


def names_hub_id(args: Namespace) -> bool:
    """Whether a model is to be fetched."""
    return any(model and not Path(model).is_dir() for model in (args.policy, args.reference))
