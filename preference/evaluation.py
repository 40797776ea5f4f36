"""A saved model on the test pairs: scores, and the metrics file's contents."""

from pathlib import Path

from accelerate import Accelerator

from preference import models, scoring
from preference.logprobs import ResponseLogps, probe
from preference.metrics import Metrics, dpo_metrics, kto_metrics, pair_margins, pair_metrics
from preference.params import Params, Train
from preference.statistics import mean_interval, share_interval
from preference.tables import Pairs, Scores


def open_model(directory: Path, params: Params, accelerator: Accelerator) -> ResponseLogps:
    """Load a model onto the device, with the shortcuts that are exact for it."""
    model = models.load(directory).to(accelerator.device)
    models.check_length(model, params.data.max_length)
    return ResponseLogps(model, probe(model, params.data.max_length))


def score(
    logps: ResponseLogps, pairs: Pairs, params: Params, accelerator: Accelerator, description: str
) -> Scores:
    return scoring.score(
        logps,
        pairs,
        accelerator,
        share_prompts=logps.abilities.shared_prompts,
        tokens_per_batch=params.runtime.tokens_per_batch,
        description=description,
    )


def summary(scores: Scores, normalize: bool) -> dict[str, float]:
    """Pair metrics with their 95% intervals, as metrics files hold them."""
    margins = pair_margins(scores, normalize)
    values = pair_metrics(scores, normalize)
    accuracy, margin = share_interval(margins > 0), mean_interval(margins)
    return {
        "pairs": len(scores),
        "pair_acc": values["pair_acc"],
        "pair_acc_low": accuracy.low,
        "pair_acc_high": accuracy.high,
        "margin": values["margin"],
        "margin_low": margin.low,
        "margin_high": margin.high,
    }


def all_metrics(policy: Scores, reference: Scores, settings: Train, normalize: bool) -> Metrics:
    """Pair metrics and the objective's, without intervals, as training follows them by epoch."""
    return {
        **pair_metrics(policy, normalize),
        **objective_metrics(policy, reference, settings, normalize),
    }


def objective_metrics(
    policy: Scores, reference: Scores, settings: Train, normalize: bool
) -> Metrics:
    """The metrics that need a reference, under the objective's own names."""
    if settings.objective == "dpo":
        return dpo_metrics(policy, reference, normalize, settings.beta)
    return kto_metrics(policy, reference, normalize, settings.beta, settings.kto.target_kl)
