"""Objectives: flipped labels, examples, weights, losses, through DPO and KTO."""

import naive
import numpy as np
import pytest
import torch
from objective_cases import (
    COUNTS,
    LOGPS,
    PAIRS,
    REFERENCE,
    SEED,
    SWAPPED,
    TARGET_KL,
    labelled,
    made_pairs,
    rewards,
    softplus,
    train,
)
from torch import Tensor

from preference.core.errors import InputError
from preference.losses import dpo, kto
from preference.objectives import sft
from preference.objectives.batch import Batch
from preference.objectives.label_noise import flips
from preference.objectives.objective import Objective, Task
from preference.store.scores import Scores


def test_a_task_tells_the_rows_of_its_items() -> None:
    examples = naive.make_examples([([1], [[2, 3]]), ([1], [[4, 5], [6, 7]])], 8, [(1, 2)])
    examples.index.labels[0] = 1
    task = sft.task(examples)
    assert task.items.tolist() == [[0], [1]]
    assert task.rows(np.array([1, 0])) == [1, 0]


def dpo_task(label_noise: float = 0.0, normalize: bool = True, scores: Scores = REFERENCE) -> Task:
    return dpo.OBJECTIVE.task(PAIRS, scores, train("dpo", label_noise), normalize, SEED)


def dpo_loss(label_noise: float, index: list[int], normalize: bool) -> Tensor:
    made = dpo_task(label_noise, normalize)
    return made.loss(LOGPS[index].flatten(), COUNTS[index].flatten(), np.array(index), None)


@pytest.mark.parametrize("normalize", [True, False])
def test_of_pairs_it_is_the_formula_over_pairs(normalize: bool) -> None:
    expected = [softplus(-(chosen - rejected)) for chosen, rejected in rewards(normalize)]
    found = dpo_loss(0.0, [0, 1, 2, 3], normalize)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_of_pairs_it_finds_the_reference_of_the_pairs_at_hand() -> None:
    expected = [softplus(-(chosen - rejected)) for chosen, rejected in rewards(True)]
    assert dpo_loss(0.0, [2, 0], True).tolist() == pytest.approx(
        [expected[2], expected[0]], rel=1e-5
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_of_pairs_all_labels_flipped_is_the_loss_of_swapped_pairs(normalize: bool) -> None:
    swapped = dpo_task(0.0, normalize, SWAPPED)
    logps, counts = LOGPS.flip(1).flatten(), COUNTS.flip(1).flatten()
    expected = swapped.loss(logps, counts, np.arange(4), None)
    assert dpo_loss(1.0, [0, 1, 2, 3], normalize).tolist() == expected.tolist()


def test_of_pairs_the_pairs_are_flipped_that_the_seed_says() -> None:
    flipped = flips(4, 0.5, SEED)
    expected = [
        softplus(chosen - rejected if flip else rejected - chosen)
        for (chosen, rejected), flip in zip(rewards(True), flipped, strict=True)
    ]
    assert flipped.sum() == 2
    index = [3, 1, 0, 2]
    wanted = [expected[i] for i in index]
    assert dpo_loss(0.5, index, True).tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("label_noise", [0.0, 1.0])
def test_of_pairs_it_raises_what_the_label_prefers(label_noise: float) -> None:
    logps = LOGPS.clone().requires_grad_()
    found = dpo_task(label_noise).loss(logps.flatten(), COUNTS.flatten(), np.arange(4), None)
    (gradient,) = torch.autograd.grad(found.sum(), logps)
    assert (gradient < 0).tolist() == [[label_noise == 0, label_noise == 1]] * 4


def test_of_pairs_examples_are_pairs() -> None:
    made = dpo_task()
    assert made.unit == "pairs"
    assert [item.tolist() for item in made.items] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert made.weights(np.arange(4)).tolist() == [1, 1, 1, 1]
    assert made.counted == 1


def test_of_pairs_without_a_reference_its_scores_are_0() -> None:
    seen: list[Tensor] = []

    def watched(batch: Batch, *rest: object) -> Tensor:
        seen.extend(batch.reference.unbind(1))
        return batch.margin

    objective = Objective("none", "pairs", watched, reference=False)
    made = objective.task(PAIRS, REFERENCE, train("dpo"), True, SEED)
    found = made.loss(LOGPS.flatten(), COUNTS.flatten(), np.arange(4), None)
    assert found.tolist() == pytest.approx(np.subtract(*(LOGPS / COUNTS).T).tolist(), rel=1e-6)
    assert [scores.tolist() for scores in seen] == [[0] * 4, [0] * 4]


def kto_task(label_noise: float = 0.0, shuffle: str = "examples", normalize: bool = True) -> Task:
    settings = train("kto", label_noise, shuffle)
    return kto.OBJECTIVE.task(PAIRS, REFERENCE, settings, normalize, SEED)


def test_of_labels_examples_alternate_between_chosen_and_rejected() -> None:
    made = kto.OBJECTIVE.task(made_pairs(2), REFERENCE, train("kto"), True, SEED)
    assert made.unit == "examples"
    assert [item.tolist() for item in made.items] == [[0], [1], [2], [3]]
    assert made.weights(np.arange(4)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("label_noise", [0.0, 0.5, 1.0])
def test_of_labels_it_is_the_formula_with_labels_that_follow_flips(
    label_noise: float, normalize: bool
) -> None:
    expected = []
    flipped = flips(4, label_noise, SEED)
    for (chosen, rejected), flip in zip(rewards(normalize), flipped, strict=True):
        sign = -1 if flip else 1
        expected += [
            softplus(-sign * (chosen - TARGET_KL)),
            softplus(sign * (rejected - TARGET_KL)),
        ]
    index = np.array([5, 0, 7, 2, 1, 6, 3, 4])
    singly = kto_task(label_noise, normalize=normalize)
    found = singly.loss(LOGPS.flatten()[index], COUNTS.flatten()[index], index, None)
    assert found.tolist() == pytest.approx([expected[i] for i in index], rel=1e-5)
    by_pair = kto_task(label_noise, "pairs", normalize)
    logps, counts = LOGPS[[2, 0]].flatten(), COUNTS[[2, 0]].flatten()
    found = by_pair.loss(logps, counts, np.array([2, 0]), None)
    sums = [expected[4] + expected[5], expected[0] + expected[1]]
    assert found.tolist() == pytest.approx(sums, rel=1e-5)


def test_of_labels_by_pairs_an_item_has_two_examples() -> None:
    made = kto_task(shuffle="pairs")
    assert made.unit == "pairs"
    assert [item.tolist() for item in made.items] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert made.weights(np.arange(4)).tolist() == [2, 2, 2, 2]
    assert made.counted == 2


def test_of_labels_the_same_pairs_are_flipped_as_for_pairs() -> None:
    flipped = flips(4, 0.5, SEED)
    logps = torch.zeros(8, requires_grad=True)
    loss = kto_task(0.5).loss(logps, torch.ones(8, dtype=torch.long), np.arange(8), None)
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert (gradient < 0).view(4, 2).tolist() == [[not flip, flip] for flip in flipped.tolist()]


def test_of_labels_labelled_responses_follow_their_labels_and_weights() -> None:
    examples, reference = labelled([1, 0, 1], [1.0, 2.0, 0.5])
    made = kto.OBJECTIVE.task(examples, reference, train("kto"), True, SEED)
    assert [item.tolist() for item in made.items] == [[0], [1], [2]]
    assert made.weights(np.arange(3)).tolist() == [1.0, 2.0, 0.5]
    # As likely as to the reference, so that the reward is 0.
    logps = torch.tensor(reference.logps)
    found = made.loss(logps, torch.full((3,), 2), np.arange(3), None)
    expected = [softplus(TARGET_KL), 2 * softplus(-TARGET_KL), 0.5 * softplus(TARGET_KL)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_of_labels_noise_flips_labels_of_single_responses_too() -> None:
    examples, reference = labelled([1, 1, 0, 0], [1.0] * 4)
    made = kto.OBJECTIVE.task(examples, reference, train("kto", 1.0), True, SEED)
    logps = torch.zeros(4, requires_grad=True)
    loss = made.loss(logps, torch.ones(4), np.arange(4), None).sum()
    (gradient,) = torch.autograd.grad(loss, logps)
    assert (gradient < 0).tolist() == [False, False, True, True]


def test_of_labels_pairs_cannot_be_kept_together_where_there_are_none() -> None:
    examples, reference = labelled([1, 0], [1.0, 1.0])
    with pytest.raises(InputError, match=r"train\.kto\.shuffle: .* 2 labelled responses"):
        kto.OBJECTIVE.task(examples, reference, train("kto", shuffle="pairs"), True, SEED)


def test_of_labels_a_statistic_is_had_of_the_scores_of_policy_and_reference() -> None:
    objective = Objective(
        "with KL",
        "labels",
        lambda batch, settings, options: batch.policy * 0 + torch.as_tensor(batch.statistic),
        kto.metrics,
        statistic=lambda batch: (batch.policy - batch.reference).mean().clamp(min=0),
    )
    made = objective.task(PAIRS, REFERENCE, train("kto"), True, SEED)
    assert made.statistic is not None
    logps, counts, index = LOGPS.flatten(), COUNTS.flatten(), np.arange(8)
    kl = made.statistic(logps, counts, index)
    theirs = torch.tensor(REFERENCE.of_responses(True)).float()
    expected = (logps / counts - theirs).mean().clamp(min=0)
    assert float(kl) == pytest.approx(float(expected), rel=1e-6)
    assert made.loss(logps, counts, index, kl).tolist() == pytest.approx([float(kl)] * 8)
