"""Made-up runs, for what is said of them."""

from typing import Any

import numpy as np
from naive import make_index
from settings import params

from preference.core.params import Params
from preference.losses import named
from preference.report import comparison
from preference.report.findings import Run, Weight
from preference.report.health import Health
from preference.store.scores import Scores

COMPARED = (("baseline", "final"), ("baseline", "sft"), ("sft", "final"))
TITLES = {"baseline": "baseline", "sft": "SFT", "final": "SFT + DPO"}
SENTENCE = "we could ask the town for bread and a road that leads home before it is dark"
DOTS = ["." * 60] * 8


def said(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(SENTENCE.split(), 30)) for _ in range(count)]


def settings(**changes: object) -> Params:
    """Dotted keys set to other values, in params of a run of 16 pairs a step."""
    values: dict[str, Any] = params("fp32", "cpu").model_dump()
    values["data"] |= {"train_pairs": 4000, "eval_pairs": None}
    values["train"] |= {"batch_size": 16, "learning_rate": 1e-5, "beta": 3.0}
    values["sft"] |= {"learning_rate": 2e-5}
    for key, value in changes.items():
        section, name = key.split("__")
        values[section][name] = value
    return Params.model_validate(values)


def counts(pairs: int, **more: Any) -> dict[str, Any]:
    skipped = {"prompts_differ": 0, "empty_chosen": 0}
    found = {"pairs": pairs, "rows_read": pairs, "truncated_pairs": 0, "skipped": skipped}
    return found | {"chosen_longer": pairs // 2, "rejected_longer": pairs // 2 - 1} | more


def run(
    pairs: int = 1000,
    sft: float = 0.2,
    policy: float = 0.5,
    moved: float = -0.1,
    base: str = "scratch",
    asked: Params | None = None,
    labels: tuple[int, int] | None = None,
    **more: Any,
) -> Run:
    """Scores a token spread by 0.7 around -2; chosen ones lie higher by `sft` and `policy`.

    Args:
        moved: by how much the policy's lie higher than SFT's, all of them.
        labels: of the two of each pair, which then are in none.
    """
    random = np.random.default_rng(0)
    index = make_index([2] * pairs, [] if labels else [(2 * i, 2 * i + 1) for i in range(pairs)])
    if labels:
        index.labels[:] = labels * pairs
    tokens = random.integers(5, 90, 2 * pairs)
    means = random.normal(-2, 0.5, 2 * pairs)
    context = {"base_model": base}

    def scores(gain: float, shift: float) -> Scores:
        found = means + random.normal(shift, 0.05, 2 * pairs)
        found[::2] += gain
        return Scores(index, found * tokens, tokens, context)

    found = {
        "baseline": scores(0.0, 0.0),
        "sft": scores(sft, 0.0),
        "final": scores(policy, moved - (policy - sft)),
    }
    compared = {(a, b): comparison.compare(found[a], found[b], normalize=True) for a, b in COMPARED}
    prepared = {"train": counts(4000), "test": counts(pairs)}
    if labels:
        prepared = {
            split: found | {"pairs": 0, "labelled_responses": 2 * found["pairs"]}
            for split, found in prepared.items()
        }
    values: dict[str, Any] = {
        "prepared": prepared,
        "answers": {"baseline": said(8, 1), "sft": said(8, 2), "final": said(8, 3)},
    } | more
    return Run(
        settings=asked or settings(),
        scores=found,
        compared=compared,
        titles=TITLES,
        objective=named("dpo"),
        **values,
    )


def texts(judged: Health, weight: Weight) -> str:
    return "\n".join(found.text for found in judged.findings if found.weight == weight)
