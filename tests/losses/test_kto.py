"""Simple KTO's loss and its gradients, against arithmetic written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings import train
from torch import Tensor

from preference.losses import kto
from preference.objectives.batch import Batch
from preference.objectives.objective import NoOptions

unhurried = settings(deadline=None)  # a busy machine is no failure
logps = st.floats(-2000, 0)
betas = st.floats(0.01, 5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def leaves(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in values]


def gradients(loss: Tensor, *of: Tensor) -> list[float]:
    return [gradient.item() for gradient in torch.autograd.grad(loss.sum(), of)]


def kto_loss(
    policy: Tensor, reference: Tensor, desirable: Tensor, beta: float, target_kl: float
) -> Tensor:
    asked = train(objective="kto", beta=beta, kto={"target_kl": target_kl})
    batch = Batch(policy, reference, desirable, policy, torch.ones(policy.shape))
    return kto.loss(batch, asked, NoOptions())


def test_kto_values_by_hand() -> None:
    # Both rewards are 0.5 x (-6 + 9) = 1.5, both stand 1.1 above the target of 0.4.
    policy = torch.tensor([-6.0, -6.0], dtype=torch.float64)
    reference = torch.tensor([-9.0, -9.0], dtype=torch.float64)
    desirable = torch.tensor([True, False])
    loss = kto_loss(policy, reference, desirable, beta=0.5, target_kl=0.4)
    expected = [math.log(1 + math.exp(-1.1)), math.log(1 + math.exp(1.1))]
    assert loss.tolist() == pytest.approx(expected, rel=1e-12)
    assert loss.tolist() == pytest.approx([0.28733533, 1.38733533], abs=1e-8)


@pytest.mark.parametrize(("desirable", "sign"), [(True, -1), (False, 1)])
def test_kto_gradients_by_hand(desirable: bool, sign: int) -> None:
    policy, reference = leaves(-6, -9)
    label = torch.tensor([desirable])
    loss = kto_loss(policy, reference, label, beta=0.5, target_kl=0.4)
    slope = sign * 0.5 * sigmoid(sign * 1.1)
    assert gradients(loss, policy, reference) == pytest.approx([slope, -slope], rel=1e-12)


def test_a_larger_target_asks_more_of_the_desirable_and_less_of_the_undesirable() -> None:
    policy, label = torch.zeros(2), torch.tensor([True, False])
    low, high = (kto_loss(policy, policy, label, beta=0.1, target_kl=kl) for kl in (0.0, 1.0))
    assert low.tolist() == pytest.approx([math.log(2)] * 2, rel=1e-6)
    assert high[0] > low[0]
    assert high[1] < low[1]


@pytest.mark.parametrize("desirable", [True, False])
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_kto_is_finite_at_extremes(gap: float, desirable: bool) -> None:
    policy = torch.tensor([gap], requires_grad=True)
    label = torch.tensor([desirable])
    loss = kto_loss(policy, torch.zeros(1), label, beta=1.0, target_kl=0.5)
    above = gap - 0.5 if desirable else 0.5 - gap
    slope = -1.0 if desirable else 1.0
    assert loss.item() == max(-above, 0.0)
    assert gradients(loss, policy) == [0.0 if above > 0 else slope]


@unhurried
@given(
    st.lists(st.tuples(logps, logps, st.booleans()), min_size=1, max_size=8),
    betas,
    st.floats(-3, 3),
)
def test_kto_agrees_with_the_formula(
    rows: list[tuple[float, float, bool]], beta: float, target_kl: float
) -> None:
    policy, reference, desirable = (np.array(column) for column in zip(*rows, strict=True))
    reward = beta * (policy - reference)
    found = kto_loss(
        torch.tensor(policy), torch.tensor(reference), torch.tensor(desirable), beta, target_kl
    )
    above = np.where(desirable, reward - target_kl, target_kl - reward)
    np.testing.assert_allclose(found.numpy(), np.logaddexp(0, -above), rtol=1e-9, atol=1e-9)


@unhurried
@given(logps, logps, st.booleans(), betas, st.floats(-3, 3))
def test_kto_pulls_by_the_label(
    policy: float, reference: float, desirable: bool, beta: float, target_kl: float
) -> None:
    leaf, other = leaves(policy, reference)
    loss = kto_loss(leaf, other, torch.tensor([desirable]), beta, target_kl)
    (slope,) = gradients(loss, leaf)
    # Its size is beta x sigmoid(...): never above beta, and zero only by underflow.
    assert 0 <= (-slope if desirable else slope) <= beta * (1 + 1e-12)
