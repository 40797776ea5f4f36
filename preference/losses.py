"""The objectives' losses: pure functions of log-probabilities, one value an example."""

import torch.nn.functional as F
from torch import Tensor


def dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> Tensor:
    """Direct preference optimization, equation 7 of Rafailov et al. 2023 (arXiv:2305.18290).

    -log sigmoid(r_chosen - r_rejected) with r = beta x (policy - reference).

    Args:
        policy_chosen: (pairs,), log-probabilities in nats, sums or means over tokens; so are the
            other three.
        beta: strength of the tie to the reference.

    Returns:
        (pairs,), losses in nats.
    """
    chosen = policy_chosen - reference_chosen
    rejected = policy_rejected - reference_rejected
    return -F.logsigmoid(beta * (chosen - rejected))


def kto(
    policy: Tensor, reference: Tensor, desirable: Tensor, beta: float, target_kl: float
) -> Tensor:
    """Simple KTO: Ethayarajh et al. 2024 (arXiv:2402.01306) with a constant for the KL term.

    -log sigmoid(r - target_kl) for a desirable example, -log sigmoid(target_kl - r) for an
    undesirable one, r = beta x (policy - reference).

    Args:
        policy: log-probabilities of examples in nats, sums or means over tokens, of any shape;
            `reference` has the same.
        desirable: boolean labels, of that shape, too.

    Returns:
        Losses in nats, of that shape.
    """
    above = beta * (policy - reference) - target_kl
    return -F.logsigmoid(above.where(desirable, -above))
