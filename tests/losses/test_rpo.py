"""RPO: the loss by hand, against TRL's, and its gradient."""

import math
from pathlib import Path

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("rpo", beta=0.1, alpha=0.5)
    # The rewards differ by 0.1 x 2; a chosen token has -10 / 5.
    assert value == pytest.approx(math.log(1 + math.exp(-0.2)) + 0.5 * 2)
    slope = 0.1 / (1 + math.exp(0.2))
    assert slopes == loss_cases.slopes(-slope - 0.5 / 5, slope)


def test_it_is_as_trl_has_it() -> None:
    # The peer's term for SFT is a mean over all tokens, the same where responses are equally long.
    options, kinds = {"alpha": 0.3}, ["sigmoid", "sft"]
    loss_cases.as_trl_has_it("rpo", kinds, weights=[1, 0.3], options=options, equal=True)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("rpo")
    loss_cases.is_finite_at_extremes("rpo")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("rpo")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.alpha: input should be greater than or equal to 0 (it is -1.0)"
    loss_cases.refused(tmp_path, "rpo", said, alpha=-1.0)
