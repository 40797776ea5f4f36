"""Robust DPO: the loss by hand, against TRL's, its gradient, and what it is for."""

import math
from pathlib import Path

import loss_cases
import pytest
import torch


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("robust", beta=0.1, label_smoothing=0.25)
    # The rewards differ by 0.1 x 2.
    kept, swapped = math.log(1 + math.exp(-0.2)), math.log(1 + math.exp(0.2))
    assert value == pytest.approx((0.75 * kept - 0.25 * swapped) / 0.5)
    slope = 0.1 * (0.75 / (1 + math.exp(0.2)) + 0.25 / (1 + math.exp(-0.2))) / 0.5
    assert slopes == loss_cases.slopes(-slope, slope)


def test_it_expects_of_swapped_labels_what_dpo_has_of_right_ones() -> None:
    step = loss_cases.random_step()
    batch = step.batch("robust", normalize=False)
    turned = loss_cases.batch_of(
        "robust", step.sums.flip(1), step.reference.flip(1), step.tokens.flip(1), False
    )
    options = {"label_smoothing": 0.2}
    right, swapped = (loss_cases.loss_of("robust", b, 0.7, options) for b in (batch, turned))
    expected = loss_cases.loss_of("dpo", batch, 0.7, {})
    torch.testing.assert_close(0.8 * right + 0.2 * swapped, expected)


def test_it_is_as_trl_has_it() -> None:
    loss_cases.as_trl_has_it("robust", "robust", options={"label_smoothing": 0.2})


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("robust")
    loss_cases.is_finite_at_extremes("robust")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("robust")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.label_smoothing: input should be less than 0.5 (it is 0.5)"
    loss_cases.refused(tmp_path, "robust", said, label_smoothing=0.5)
