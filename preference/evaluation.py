"""A saved model, opened for work and run over pairs."""

from pathlib import Path

from accelerate import Accelerator

from preference import models, scoring
from preference.logprobs import ResponseLogps, probe
from preference.params import Params
from preference.tables import Pairs, Scores


def open_model(directory: Path, longest: int, accelerator: Accelerator) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it.

    Args:
        longest: tokens of the longest sequence that it will see.
    """
    model = models.load(directory).to(accelerator.device)
    models.check_length(model, longest)
    return ResponseLogps(model, probe(model, longest))


def score(
    logps: ResponseLogps,
    pairs: Pairs,
    params: Params,
    accelerator: Accelerator,
    description: str,
) -> Scores:
    return scoring.score(
        logps,
        pairs,
        accelerator,
        share_prompts=logps.abilities.shared_prompts,
        tokens_per_batch=params.runtime.tokens_per_batch,
        description=description,
    )
