"""KTO with its KL term: the loss by hand, against TRL's, its gradient, and its estimate."""

import math
from pathlib import Path

import loss_cases
import pytest
import torch


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_it_by_hand() -> None:
    found = loss_cases.by_hand_of_labels(
        "kto_kl", 0.5, 0.4, desirable_weight=1.5, undesirable_weight=0.5
    )
    # The log-ratios are 1 and -1, which stand 0.6 above the divergence and 1.4 below it.
    expected = [1.5 * (1 - sigmoid(0.3)), 0.5 * (1 - sigmoid(0.7))]
    assert found[0] == pytest.approx(expected)
    slopes = -1.5 * 0.5 * sigmoid(0.3) * sigmoid(-0.3), 0.5 * 0.5 * sigmoid(0.7) * sigmoid(-0.7)
    assert found[1] == loss_cases.slopes(*slopes)


def test_its_estimate_is_the_mean_of_mismatched_log_ratios_and_never_below_0() -> None:
    step = loss_cases.random_labelled(higher=1.0)
    expected = (step.apart[0] - step.apart[1]).mean()
    assert expected > 0.1
    found = step.batch("kto_kl").statistic
    assert found is not None
    torch.testing.assert_close(found, expected)
    lower = loss_cases.random_labelled(higher=-1.0)
    assert (lower.apart[0] - lower.apart[1]).mean() < -0.1
    assert lower.batch("kto_kl").statistic == 0


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.3)])
def test_it_is_as_trl_has_it(weights: tuple[float, float]) -> None:
    options = dict(zip(("desirable_weight", "undesirable_weight"), weights, strict=True))
    loss_cases.labels_as_trl_has_them("kto_kl", "kto", options)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.labels_have_their_gradient("kto_kl", desirable_weight=2.0)


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss_of_labels("kto_kl", undesirable_weight=0.3)


def test_other_options_are_refused(tmp_path: Path) -> None:
    message = "train.options.desirable_weight: input should be greater than or equal to 0"
    loss_cases.refused(tmp_path, "bco", message, desirable_weight=-1.0)
