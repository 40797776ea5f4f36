"""The card of a trained model: what it is, what it was made from, how, and how good it is."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from preference import markdown, params
from preference.params import Params
from preference.pins import COMMIT
from preference.rendering import fill
from preference.statistics import summary
from preference.tables import Pairs, Scores

DIGITS = 4


def model_card(
    settings: Params,
    sft: Mapping[str, Any],
    train: Pairs,
    test: Pairs,
    scores: Mapping[str, Scores],
) -> str:
    """The card as Markdown; two identical runs have the same.

    It names the params that training and the SFT before it depend on, and of the pairs what they
    are: with the same ones, another choice of data made no difference.

    Args:
        sft: params of the SFT that the model went through.
        scores: of the test pairs, by model; the last one is the model that the card is of.
    """
    *_, title = scores
    context = dict(scores[title].context)
    data, base = context.pop("data"), context.pop("base_model")
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["preference-tuning", settings.train.objective],
        base_model=_hub_id(base),
        datasets=[identifier] if (identifier := _hub_id(data)) else None,
    )
    normalize = settings.scoring.length_normalize
    made_with = {
        "seed": settings.seed,
        "scoring": {"length_normalize": normalize},
        "sft": sft,
        "train": settings.train,
        "precision": settings.precision,
    }
    rows = [
        [name, *markdown.estimates(summary(found, normalize), DIGITS)]
        for name, found in scores.items()
    ]
    return fill(
        "card.md",
        metadata=metadata.to_yaml(),
        title=title,
        objective=settings.train.objective.upper(),
        base=base,
        data=data,
        train_pairs=len(train),
        test_pairs=len(test),
        longest=max(train.longest, test.longest),
        context=", ".join(f"{name} {value}" for name, value in context.items()),
        normalize=normalize,
        metrics="\n".join(markdown.table([("model", "left"), *markdown.ESTIMATES], rows)),
        params=[(name, params.spelled(value)) for name, value in params.flat(made_with)],
    )


def _hub_id(name: str) -> str | None:
    """The Hub's id in `OWNER/NAME@COMMIT`."""
    identifier, _, commit = name.partition("@")
    return identifier if COMMIT.fullmatch(commit) else None
