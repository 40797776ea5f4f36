"""EXO: the loss by hand, against TRL's, and its gradient."""

import math
from pathlib import Path

import loss_cases
import pytest


def test_it_by_hand() -> None:
    value, slopes = loss_cases.by_hand("exo_pair", beta=0.1, label_smoothing=0.25)
    # The rewards differ by 0.1 x 2: the policy's preference, against three to one.
    p = 1 / (1 + math.exp(-0.2))
    assert value == pytest.approx(p * math.log(p / 0.75) + (1 - p) * math.log((1 - p) / 0.25))
    slope = 0.1 * p * (1 - p) * (0.2 - math.log(3))
    assert slopes == loss_cases.slopes(slope, -slope)


def test_it_is_least_where_the_preference_is_that_of_smoothed_labels() -> None:
    # The odds are three to one where beta x 2 = log 3.
    value, slopes = loss_cases.by_hand("exo_pair", beta=math.log(3) / 2, label_smoothing=0.25)
    assert value == pytest.approx(0, abs=1e-12)
    assert slopes == pytest.approx([0, 0], abs=1e-12)


def test_it_is_as_trl_has_it() -> None:
    # The peer takes the logarithms of labels in float32.
    loss_cases.as_trl_has_it("exo_pair", "exo_pair", options={"label_smoothing": 0.2}, rtol=1e-7)


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("exo_pair")
    loss_cases.is_finite_at_extremes("exo_pair")


def test_its_metrics_say_its_loss() -> None:
    loss_cases.measures_its_loss("exo_pair")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.label_smoothing: input should be greater than 0 (it is 0.0)"
    loss_cases.refused(tmp_path, "exo_pair", said, label_smoothing=0.0)
