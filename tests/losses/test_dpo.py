"""DPO's loss and its gradients, against arithmetic written out."""

import math
from pathlib import Path

import loss_cases
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from preference.objectives.batch import Batch

unhurried = settings(deadline=None)  # a busy machine is no failure
logps = st.floats(-2000, 0)
betas = st.floats(0.01, 5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def leaves(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in values]


def gradients(loss: Tensor, *of: Tensor) -> list[float]:
    return [gradient.item() for gradient in torch.autograd.grad(loss.sum(), of)]


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    policy = torch.stack([chosen, rejected], dim=1)
    reference = torch.stack([reference_chosen, reference_rejected], dim=1)
    labels, tokens = torch.tensor([True, False]).expand(policy.shape), torch.ones(policy.shape)
    batch = Batch(policy, reference, labels, policy, tokens)
    return loss_cases.loss_of("dpo", batch, beta, {"label_smoothing": label_smoothing})


def test_dpo_value_by_hand() -> None:
    # Rewards 0.1 x (-10 + 11) = 0.1 and 0.1 x (-12 + 11) = -0.1; x = 0.2.
    chosen, rejected, reference_chosen, reference_rejected = leaves(-10, -12, -11, -11)
    loss = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.1)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.2)), rel=1e-12)
    assert loss.item() == pytest.approx(0.5981388693815918, rel=1e-12)


def test_dpo_gradients_by_hand() -> None:
    tensors = leaves(-10, -12, -11, -11)
    chosen, rejected, reference_chosen, reference_rejected = tensors
    loss = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.1)
    slope = 0.1 * sigmoid(-0.2)
    assert slope == pytest.approx(0.04501660026875221, rel=1e-12)
    expected = [-slope, slope, slope, -slope]
    assert gradients(loss, *tensors) == pytest.approx(expected, rel=1e-12)


def test_dpo_is_one_loss_a_pair() -> None:
    zeros = torch.zeros(3)
    loss = dpo_loss(torch.tensor([0.0, 1.0, -1.0]), zeros, zeros, zeros, beta=2.0)
    expected = [math.log(2), math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]
    assert loss.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_dpo_is_finite_at_extremes(gap: float) -> None:
    chosen = torch.tensor([gap], requires_grad=True)
    zero = torch.zeros(1)
    loss = dpo_loss(chosen, zero, zero, zero, beta=1.0)
    assert loss.item() == max(-gap, 0.0)
    assert gradients(loss, chosen) == [0.0 if gap > 0 else -1.0]


@unhurried
@given(st.lists(st.tuples(logps, logps, logps, logps), min_size=1, max_size=8), betas)
def test_dpo_agrees_with_the_formula(
    rows: list[tuple[float, float, float, float]], beta: float
) -> None:
    columns = np.array(rows).T
    chosen, rejected = beta * (columns[0] - columns[2]), beta * (columns[1] - columns[3])
    tensors = [torch.tensor(column) for column in columns]
    found = dpo_loss(tensors[0], tensors[1], tensors[2], tensors[3], beta)
    expected = np.logaddexp(0, -(chosen - rejected))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_conservative_dpo_by_hand() -> None:
    # The margin is 0.2, and a quarter of the labels are taken to be wrong.
    value, slopes = loss_cases.by_hand("dpo", beta=0.1, label_smoothing=0.25)
    expected = 0.75 * math.log(1 + math.exp(-0.2)) + 0.25 * math.log(1 + math.exp(0.2))
    assert value == pytest.approx(expected, rel=1e-12)
    slope = 0.1 * (0.25 * sigmoid(0.2) - 0.75 * sigmoid(-0.2))
    assert slopes == loss_cases.slopes(slope, -slope)


@pytest.mark.parametrize(("normalize", "kind"), [(False, "sigmoid"), (True, "sigmoid_norm")])
def test_dpo_as_trl_has_it(normalize: bool, kind: str) -> None:
    loss_cases.as_trl_has_it("dpo", kind, normalize=normalize)


def test_conservative_dpo_has_its_gradient() -> None:
    loss_cases.has_its_gradient("dpo", label_smoothing=0.2)


def test_its_own_metrics_say_its_own_loss() -> None:
    loss_cases.measures_its_loss("dpo")
    loss_cases.measures_its_loss("dpo", label_smoothing=0.2)


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.label_smoothing: input should be less than 0.5 (it is 0.5)"
    loss_cases.refused(tmp_path, "dpo", said, label_smoothing=0.5)
    said = "train.options.label_smothing: unknown key; did you mean train.options.label_smoothing?"
    loss_cases.refused(tmp_path, "dpo", said, label_smothing=0.1)
