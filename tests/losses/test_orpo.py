"""ORPO: the loss by hand, against TRL's, and its gradient."""

import math
from types import SimpleNamespace

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("orpo", beta=0.5)
    # Means are -2 and -3: the odds are p / (1 - p), of probabilities by token.
    p, q = math.exp(-2), math.exp(-3)
    ratio = (p / (1 - p)) / (q / (1 - q))
    assert value == pytest.approx(2 + 0.5 * math.log(1 + 1 / ratio))
    slope = 0.5 / (1 + ratio)
    expected = -(1 + slope / (1 - p)) / 5, slope / (1 - q) / 4
    assert slopes == loss_cases.slopes(*expected)


def test_it_is_as_trl_has_it() -> None:
    from trl.experimental.orpo import ORPOTrainer

    step = loss_cases.random_step()
    peer = SimpleNamespace(beta=0.7, accelerator=SimpleNamespace(device="cpu"))
    means = step.sums / step.tokens
    gained, *_ = ORPOTrainer.odds_ratio_loss(peer, *means.unbind(1))
    # Beside it the peer has the cross-entropy of prompts and chosen responses.
    expected = -means[:, 0] - gained.double()
    loss = loss_cases.loss_of("orpo", step.batch("orpo", normalize=False), 0.7, {})
    # The peer computes in float32.
    loss_cases.agree(loss, expected, step, rtol=1e-6)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("orpo")
    loss_cases.is_finite_at_extremes("orpo")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("orpo")
