"""CPO: the loss by hand, against TRL's, and its gradient."""

import math
from pathlib import Path
from types import SimpleNamespace

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("cpo", beta=0.1, alpha=0.5)
    # Sums are -10 and -12, so the rewards differ by 0.2; a chosen token has -2.
    assert value == pytest.approx(math.log(1 + math.exp(-0.2)) + 0.5 * 2)
    slope = 0.1 / (1 + math.exp(0.2))
    assert slopes == loss_cases.slopes(-slope - 0.5 / 5, slope)


def test_it_is_as_trl_has_it() -> None:
    from trl.experimental.cpo import CPOTrainer

    step = loss_cases.random_step()
    peer = SimpleNamespace(
        beta=0.7, alpha=0.0, loss_type="sigmoid", label_smoothing=0.0, simpo_gamma=0.4
    )
    peer.accelerator = SimpleNamespace(device="cpu")
    given = step.sums
    expected, *_ = CPOTrainer.cpo_loss(peer, *given.unbind(1))
    # Beside it the peer has the cross-entropy of all chosen tokens of a micro-batch.
    expected = expected + 0.3 * -(step.sums / step.tokens)[:, 0]
    batch = step.batch("cpo", normalize=False)
    options = {"alpha": 0.3}
    loss_cases.agree(loss_cases.loss_of("cpo", batch, 0.7, options), expected, step)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("cpo")
    loss_cases.is_finite_at_extremes("cpo")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("cpo")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.alpha: input should be greater than or equal to 0 (it is -1.0)"
    loss_cases.refused(tmp_path, "cpo", said, alpha=-1.0)
