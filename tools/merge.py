"""merge: write a policy that was trained by LoRA as a whole model.

Its adapter is merged into its base. The model stands as a stage would have left it: float32
weights, tokenizer, and which base its training began with. It can be a base, a policy, or a
reference.
"""

from argparse import ArgumentParser, Namespace

from preference.core import stage
from preference.core.errors import InputError
from preference.model import adapters, directories, loading, saving
from preference.store import checksums
from tools.policy import located, require_new, show


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("to", help="a directory that does not exist yet, or is empty")
    model = "another adapter's directory, or a Hub id pinned as OWNER/NAME@COMMIT"
    parser.add_argument("--model", help=f"{model} (default: the policy)")


def main(args: Namespace) -> None:
    to = require_new(args.to)
    directory = located(args.model)
    if not adapters.found(directory):
        raise InputError(f"{directory}: a whole model already, with nothing to merge; copy it")
    checksums.require_undamaged(directory)
    saving.save_whole(loading.load(directory), directory, to)
    show(to)


if __name__ == "__main__":
    # It reads what stages write when they are done, so others may go on beside it.
    stage.run(
        main, arguments=arguments, network=lambda args: directories.on_hub(args.model), lock=None
    )
