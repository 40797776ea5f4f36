"""What training says of a step, however the step is cut."""

import numpy as np
import pytest
import torch
from objective_cases import COUNTS, LOGPS, PAIRS, REFERENCE, SEED, labelled, rewards, train

from preference.losses import dpo, kto
from preference.objectives.objective import Task
from preference.objectives.steps import SUMS, step_metrics, step_sums


def told_of(task: Task, parts: list[list[int]]) -> dict[str, float]:
    """Of a step that is cut into these micro-batches."""
    assert task.tally
    sums = torch.zeros(SUMS, dtype=torch.float64)
    for part in parts:
        logps, counts = LOGPS[part].flatten(), COUNTS[part].flatten()
        sums = sums + task.tally(logps, counts, np.array(part))
    return step_metrics(sums)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[2], [0, 3], [1]]])
def test_of_a_step_of_pairs_it_says_the_means(normalize: bool, parts: list[list[int]]) -> None:
    task = dpo.OBJECTIVE.task(PAIRS, REFERENCE, train("dpo"), normalize, SEED)
    found = rewards(normalize)
    chosen, rejected = np.mean(found, axis=0)
    assert told_of(task, parts) == pytest.approx(
        {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": np.mean([a > b for a, b in found]),
            # Sums over tokens, whatever the scores are: (-6 - 2 - 8 - 3) / 4 and so on.
            "logps/chosen": -4.75,
            "logps/rejected": -5.75,
        },
        rel=1e-6,
    )


def test_of_a_step_swapped_labels_count_as_they_are_trained_on() -> None:
    task = dpo.OBJECTIVE.task(PAIRS, REFERENCE, train("dpo", label_noise=1.0), True, SEED)
    plain = dpo.OBJECTIVE.task(PAIRS, REFERENCE, train("dpo"), True, SEED)
    one, other = told_of(task, [[0, 1, 2, 3]]), told_of(plain, [[0, 1, 2, 3]])
    assert one["rewards/chosen"] == other["rewards/rejected"]
    assert one["logps/rejected"] == other["logps/chosen"]
    assert one["rewards/margins"] == -other["rewards/margins"]


def test_equal_rewards_are_no_hit() -> None:
    reward, logps = torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0, -2.0]])
    found = step_metrics(step_sums(reward, logps, torch.tensor([[True, False]])).tolist())
    assert found["rewards/accuracies"] == 0.0


def test_of_a_step_of_labelled_responses_it_says_of_those_that_there_are() -> None:
    examples, scores = labelled([1, 1, 1], [1.0, 2.0, 1.0])
    task = kto.OBJECTIVE.task(examples, scores, train("kto"), False, SEED)
    assert task.tally
    sums = task.tally(torch.tensor([-1.5, -2.0, -4.0]), torch.full((3,), 2), np.arange(3))
    # Their reference's are -1, -2 and -3; beta is 0.5.
    expected = {"rewards/chosen": 0.5 * (-0.5 + 0 - 1) / 3, "logps/chosen": -2.5}
    assert step_metrics(sums) == pytest.approx(expected)


def test_of_a_step_with_both_labels_it_says_the_margin() -> None:
    examples, scores = labelled([1, 0], [1.0, 1.0])
    task = kto.OBJECTIVE.task(examples, scores, train("kto"), False, SEED)
    assert task.tally
    sums = task.tally(torch.tensor([-0.5, -2.5]), torch.full((2,), 2), np.arange(2))
    expected = {
        "rewards/chosen": 0.25,
        "rewards/rejected": -0.25,
        "rewards/margins": 0.5,
        "logps/chosen": -0.5,
        "logps/rejected": -2.5,
    }
    assert step_metrics(sums) == pytest.approx(expected)


def test_nothing_is_said_of_nothing() -> None:
    assert step_metrics([0.0] * SUMS) == {}
