"""Items: how much each counts, and the margins that data ask for."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from objective_cases import (
    COUNTS,
    LOGPS,
    PAIRS,
    REFERENCE,
    SEED,
    labelled,
    rewards,
    softplus,
    train,
)

from preference.core import params
from preference.losses import bco_pair, dpo, kto, named
from preference.objectives.items import Items
from preference.objectives.label_noise import flips
from preference.objectives.objective import Task
from preference.store.examples import Examples
from preference.store.scores import Scores

WEIGHTS, MARGINS = np.array([0.5, 2, 0, 1], "f4"), np.array([0, 0.25, 1.5, -1], "f4")
INDEX = np.array([3, 1, 0])


def pairs(**given: np.ndarray) -> tuple[Examples, Scores]:
    index = replace(PAIRS.index, **given)
    return replace(PAIRS, index=index), replace(REFERENCE, index=index)


def losses(task: Task, index: np.ndarray) -> list[float]:
    return task.loss(LOGPS[index].flatten(), COUNTS[index].flatten(), index, None).tolist()


def test_a_pairs_weight_multiplies_its_loss_and_the_mean_is_weighted() -> None:
    task = dpo.OBJECTIVE.task(*pairs(pair_weights=WEIGHTS), train("dpo"), True, SEED)
    plain = dpo.OBJECTIVE.task(PAIRS, REFERENCE, train("dpo"), True, SEED)
    found, each = losses(task, INDEX), losses(plain, INDEX)
    assert found == pytest.approx([w * x for w, x in zip(WEIGHTS[INDEX], each, strict=True)])
    assert task.weights(np.arange(4)).tolist() == WEIGHTS.tolist()
    # Of a step, which divides by the weights: that of a pair that stands there twice counts twice.
    mean = sum(found) / task.weights(INDEX).sum()
    assert mean == pytest.approx((each[0] + 2 * each[1] + 0.5 * each[2]) / 3.5)


def test_a_pairs_weight_is_that_of_both_its_sides() -> None:
    for shuffle in ("examples", "pairs"):
        settings = train("kto", shuffle=shuffle)
        examples, scores = pairs(pair_weights=WEIGHTS)
        task = kto.OBJECTIVE.task(examples, scores, settings, True, SEED)
        plain = kto.OBJECTIVE.task(PAIRS, REFERENCE, settings, True, SEED)
        index = np.arange(len(task.items))
        one, other = (
            made.loss(LOGPS.flatten(), COUNTS.flatten(), index, None).numpy()
            for made in (task, plain)
        )
        size = 2 if shuffle == "pairs" else 1
        weights = WEIGHTS if size == 2 else np.repeat(WEIGHTS, 2)
        np.testing.assert_allclose(one, weights * other, rtol=1e-6)
        assert task.weights(index).tolist() == (size * weights).tolist()


def test_labelled_responses_beside_weighted_pairs_keep_their_own_weights() -> None:
    examples, _ = labelled([1, 0, 1, 0], [1.0, 1.0, 3.0, 0.25])
    index = replace(examples.index, pairs=np.array([[0, 1]]), pair_weights=np.array([0.5], "f4"))
    items = Items.of(index, train("kto"), SEED, in_pairs=False)
    assert items.responses.tolist() == [[0], [1], [2], [3]]
    assert items.totals(np.arange(4)).tolist() == [0.5, 0.5, 3.0, 0.25]


@pytest.mark.parametrize("label_noise", [0.0, 0.5, 1.0])
def test_a_margin_is_asked_of_the_side_that_the_label_prefers(label_noise: float) -> None:
    settings = train("dpo", label_noise)
    task = dpo.OBJECTIVE.task(*pairs(margins=MARGINS), settings, True, SEED)
    signs = np.where(flips(4, label_noise, SEED), -1, 1)
    expected = [
        softplus(-(signs[i] * (rewards(True)[i][0] - rewards(True)[i][1]) - MARGINS[i]))
        for i in INDEX
    ]
    assert losses(task, INDEX) == pytest.approx(expected, rel=1e-5)


def test_a_statistic_is_of_all_pairs_alike() -> None:
    weighted = bco_pair.OBJECTIVE.task(*pairs(pair_weights=WEIGHTS), train("dpo"), True, SEED)
    plain = bco_pair.OBJECTIVE.task(PAIRS, REFERENCE, train("dpo"), True, SEED)
    both = [
        task.statistic(LOGPS.flatten(), COUNTS.flatten(), np.arange(4))
        for task in (weighted, plain)
        if task.statistic
    ]
    assert torch.equal(*both)


@pytest.mark.parametrize("name", [n for n in params.OBJECTIVES if named(n).needs == "pairs"])
def test_metrics_and_training_have_one_loss_of_weighted_pairs(name: str) -> None:
    """With margins, where the objective takes them; of all pairs as one step."""
    objective = named(name)
    given = {"pair_weights": WEIGHTS} | ({"margins": MARGINS} if objective.margins else {})
    examples, reference = pairs(**given)
    settings = train("dpo").model_copy(update={"objective": name})
    policy = Scores(examples.index, LOGPS.flatten().double().numpy(), COUNTS.flatten().numpy())
    # Where something stands beside the responses, it is the responses.
    task = objective.task(examples, reference, settings, True, SEED, reference)
    logps, counts, index = LOGPS.flatten(), COUNTS.flatten(), np.arange(4)
    found = task.statistic(logps, counts, index) if task.statistic else None
    expected = task.loss(logps, counts, index, found).sum() / task.weights(index).sum()
    metrics = objective.against_reference(policy, reference, settings, True)
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    # They do matter.
    plain = replace(policy, index=PAIRS.index)
    alone = objective.against_reference(plain, REFERENCE, settings, True)
    assert metrics["loss"] != pytest.approx(alone["loss"], rel=1e-3)


@pytest.mark.parametrize("name", [n for n in params.OBJECTIVES if named(n).margins])
def test_a_margin_is_subtracted_within_the_logit(name: str) -> None:
    """As much as if the rejected reward were higher by it."""
    objective = named(name)
    settings = train("dpo").model_copy(update={"objective": name})
    options = objective.options()
    if "label_smoothing" in type(options).model_fields:
        options = type(options).model_validate({"label_smoothing": 0.0})
    items = Items.of(PAIRS.index, settings, SEED, in_pairs=True)
    anchors = partial(REFERENCE.of_responses, True) if objective.reference else None
    plain = items.batch(LOGPS.flatten(), COUNTS.flatten(), np.arange(4), anchors, True)
    lower = plain.reference.clone()
    lower[:, 1] -= torch.from_numpy(MARGINS) / settings.beta
    batches = plain.asking(MARGINS), replace(plain, reference=lower)
    one, other = (objective.loss(batch, settings, options) for batch in batches)
    torch.testing.assert_close(one, other)
