"""APO-zero of labels: the loss by hand, against TRL's and the paired one, and its gradient."""

import math

import loss_cases
import pytest
import torch


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_it_by_hand() -> None:
    values, slopes = loss_cases.by_hand_of_labels("apo_zero_unpaired", 0.5, undesirable_weight=3.0)
    assert values == pytest.approx([1 - sigmoid(0.5), 3 * sigmoid(-0.5)])
    steep = 0.5 * sigmoid(0.5) * sigmoid(-0.5)
    assert slopes == loss_cases.slopes(-steep, 3 * steep)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.3)])
def test_it_is_as_trl_has_it(weights: tuple[float, float]) -> None:
    options = dict(zip(("desirable_weight", "undesirable_weight"), weights, strict=True))
    loss_cases.labels_as_trl_has_them("apo_zero_unpaired", "apo_zero_unpaired", options)


def test_the_two_of_a_pair_have_the_loss_of_the_pair() -> None:
    step = loss_cases.random_step()
    batch = step.batch("apo_zero", normalize=True)
    pairs, labels = (
        loss_cases.loss_of(name, batch, 0.7, {}) for name in ("apo_zero", "apo_zero_unpaired")
    )
    torch.testing.assert_close(labels.sum(1), pairs)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.labels_have_their_gradient("apo_zero_unpaired", desirable_weight=2.0)


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss_of_labels("apo_zero_unpaired", undesirable_weight=0.3)
