"""The card of the trained model: what it is, what it was made from, how, and how good it is."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from preference.core.params import Params
from preference.core.pins import COMMIT, HUB_ID
from preference.report import markdown
from preference.report.health import Health
from preference.report.render import fill
from preference.report.results import Rows

# Sections of the params that training depends on; of the data and the base, what they are is said.
MADE_WITH = ("seed", "scoring", "sft", "train", "precision")


def model_card(
    settings: Params,
    title: str,
    rows: Rows,
    context: Mapping[str, str],
    prepared: Mapping[str, Any],
    health: Health,
) -> str:
    """The card as Markdown; two identical runs have the same.

    Args:
        title: what the model is called.
        rows: of the results table; the base and the delta are left out.
        context: what the model's scores were computed with.
        prepared: the metrics of `prepare`.
    """
    facts = dict(context)
    data, base = facts.pop("data"), facts.pop("base_model")
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["preference-tuning", settings.train.objective],
        base_model=_hub_id(base),
        datasets=[found for source in data.split(" + ") if (found := _hub_id(source))] or None,
        # The license of what this was made from is not known here, so none is named.
    )
    columns = [("model", "left"), *markdown.columns(rows.metrics)]
    return fill(
        "card.md",
        metadata=metadata.to_yaml(),
        title=title,
        base=base,
        data=data,
        prepared=prepared,
        template=prepared["train"]["template"],
        health="\n".join(health.lines()),
        context=", ".join(f"{name} {value}" for name, value in facts.items()),
        settings=settings,
        metrics="\n".join(markdown.table(columns, rows.models[1:-1])),
        params=[(n, v) for n, v in markdown.params(settings) if n.partition(".")[0] in MADE_WITH],
    )


def _hub_id(name: str) -> str | None:
    """The Hub's id in `OWNER/NAME@COMMIT`; what else models and data are called has none."""
    identifier, _, commit = name.partition("@")
    return identifier if HUB_ID.fullmatch(identifier) and COMMIT.fullmatch(commit) else None
