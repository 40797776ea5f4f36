"""BCO: the loss by hand, against TRL's, its gradient, and its shift."""

import math

import loss_cases
import pytest
import torch


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("bco_pair", beta=0.1, statistic=0.5)
    # The rewards are 0.1 and -0.1, the shift is 0.1 x 0.5.
    assert value == pytest.approx(math.log(1 + math.exp(-0.05)) + math.log(1 + math.exp(-0.15)))
    slopes_by_hand = -0.1 / (1 + math.exp(0.05)), 0.1 / (1 + math.exp(0.15))
    assert slopes == loss_cases.slopes(*slopes_by_hand)


def test_its_shift_is_the_mean_of_the_steps_rewards() -> None:
    step = loss_cases.random_step()
    batch = step.batch("bco_pair", normalize=True)
    ratios = (step.sums - step.reference) / step.tokens
    assert batch.statistic is not None
    torch.testing.assert_close(batch.statistic, ratios.mean().detach())
    loss = loss_cases.loss_of("bco_pair", batch, 0.7, {})
    chosen, rejected = (0.7 * (ratios - ratios.mean().detach())).unbind(1)
    expected = -chosen.sigmoid().log() - (1 - rejected.sigmoid()).log()
    loss_cases.agree(loss, expected, step)


def test_it_is_as_trl_has_it() -> None:
    # The peer has no shift.
    loss_cases.as_trl_has_it("bco_pair", "bco_pair", statistic=0.0)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("bco_pair")
    loss_cases.is_finite_at_extremes("bco_pair")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("bco_pair")
