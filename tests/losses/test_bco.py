"""BCO of labels: the loss by hand and written another way, its gradient, and its shift."""

import math

import loss_cases
import pytest
import torch


def test_it_by_hand() -> None:
    values, slopes = loss_cases.by_hand_of_labels("bco", 0.5, 0.4, desirable_weight=2.0)
    # The rewards are 0.5 and -0.5, the shift is 0.5 x 0.4.
    by_hand = [2 * math.log(1 + math.exp(-0.3)), math.log(1 + math.exp(-0.7))]
    assert values == pytest.approx(by_hand)
    assert slopes == loss_cases.slopes(-1 / (1 + math.exp(0.3)), 0.5 / (1 + math.exp(0.7)))


def test_it_is_a_classifiers_cross_entropy_shifted_by_the_steps_mean_reward() -> None:
    step = loss_cases.random_labelled()
    batch = step.batch("bco", normalize=True)
    rewards = 0.7 * (step.logps.sum(1) - step.reference) / step.mask.sum(1)
    chance = (rewards - rewards.mean().detach()).sigmoid()
    expected = torch.nn.functional.binary_cross_entropy(chance, step.desirable.double())
    loss_cases.agree(loss_cases.loss_of("bco", batch, 0.7, {}), expected, step)


def test_the_two_of_a_pair_have_the_loss_of_the_pair() -> None:
    batch = loss_cases.random_step().batch("bco_pair", normalize=True)
    pairs, labels = (loss_cases.loss_of(name, batch, 0.7, {}) for name in ("bco_pair", "bco"))
    torch.testing.assert_close(labels.sum(1), pairs)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.labels_have_their_gradient("bco", desirable_weight=2.0)


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss_of_labels("bco", undesirable_weight=0.3)
