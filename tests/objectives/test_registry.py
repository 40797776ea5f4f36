"""Flipped labels, and each objective's examples, weights and losses."""

import math
from typing import Literal

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from settings import train
from torch import Tensor

from preference.core.params import Train
from preference.model.batches import BOTH, Item
from preference.objectives import registry
from preference.objectives.objective import sft
from preference.store.tables import Pairs, Ragged, Scores

unhurried = hypothesis.settings(deadline=None)  # a busy machine is no failure

BETA, TARGET_KL, SEED = 0.5, 0.3, 7

# Log-probabilities and token counts that a policy might give four pairs; chosen, then rejected.
LOGPS = torch.tensor([[-6.0, -9.0], [-2.0, -1.0], [-8.0, -8.0], [-3.0, -5.0]])
COUNTS = torch.tensor([[3, 3], [2, 1], [4, 2], [1, 5]])


def ragged(rows: list[list[int]]) -> Ragged:
    values = np.array([token for row in rows for token in row], dtype=np.int32)
    return Ragged(values, np.append(0, np.cumsum([len(row) for row in rows])))


def made_pairs(count: int) -> Pairs:
    prompt = ragged([[1, 2]] * count)
    kept = np.full(count, 2)
    return Pairs(
        np.arange(count), prompt, ragged([[3, 0]] * count), ragged([[4, 0]] * count), kept, kept
    )


PAIRS = made_pairs(4)
REFERENCE = Scores(
    rows=np.arange(4),
    chosen_logp=np.array([-9.0, -2.0, -4.0, -3.5]),
    chosen_tokens=np.array([3, 2, 4, 1]),
    rejected_logp=np.array([-6.0, -2.0, -10.0, -4.0]),
    rejected_tokens=np.array([3, 1, 2, 5]),
)
SWAPPED = Scores(
    REFERENCE.rows,
    REFERENCE.rejected_logp,
    REFERENCE.rejected_tokens,
    REFERENCE.chosen_logp,
    REFERENCE.chosen_tokens,
)


def settings(
    objective: Literal["dpo", "kto"], label_noise: float = 0.0, shuffle: str = "examples"
) -> Train:
    return train(
        objective=objective,
        beta=BETA,
        label_noise=label_noise,
        batch_size=2,
        kto={"target_kl": TARGET_KL, "shuffle": shuffle},
    )


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def rewards(normalize: bool) -> list[tuple[float, float]]:
    """beta x (policy - reference) of every pair's chosen and rejected."""
    found = []
    for pair in range(4):
        chosen, rejected = LOGPS[pair].tolist()
        theirs = float(REFERENCE.chosen_logp[pair]), float(REFERENCE.rejected_logp[pair])
        ours = chosen, rejected
        tokens = COUNTS[pair].tolist() if normalize else (1, 1)
        chosen, rejected = (
            BETA * (policy / n - reference / n)
            for policy, reference, n in zip(ours, theirs, tokens, strict=True)
        )
        found.append((chosen, rejected))
    return found


def dpo_loss(label_noise: float, index: list[int], normalize: bool) -> Tensor:
    objective = registry.dpo(PAIRS, REFERENCE, settings("dpo", label_noise), normalize, SEED)
    return objective.loss(LOGPS[index].flatten(), COUNTS[index].flatten(), np.array(index))


@unhurried
@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_flips_are_exactly_the_share(pairs: int, share: float, seed: int) -> None:
    found = registry.flips(pairs, share, seed)
    assert found.shape == (pairs,)
    assert found.dtype == bool
    assert found.sum() == round(share * pairs)


@unhurried
@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_smaller_share_flips_a_subset(pairs: int, one: float, other: float, seed: int) -> None:
    small, large = (registry.flips(pairs, share, seed) for share in sorted((one, other)))
    assert not (small & ~large).any()


def test_flips_follow_the_seed() -> None:
    first = registry.flips(200, 0.5, seed=1)
    assert np.array_equal(first, registry.flips(200, 0.5, seed=1))
    assert not np.array_equal(first, registry.flips(200, 0.5, seed=2))


def test_flips_are_spread_over_the_file() -> None:
    found = registry.flips(10_000, 0.25, seed=0)
    quarters = found.reshape(4, 2500).mean(axis=1)
    # Four standard deviations of a share drawn from 2,500.
    assert quarters == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 2500))


@pytest.mark.parametrize("normalize", [True, False])
def test_dpo_is_the_formula_over_pairs(normalize: bool) -> None:
    expected = [softplus(-(chosen - rejected)) for chosen, rejected in rewards(normalize)]
    found = dpo_loss(0.0, [0, 1, 2, 3], normalize)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_dpo_finds_the_reference_of_the_pairs_at_hand() -> None:
    expected = [softplus(-(chosen - rejected)) for chosen, rejected in rewards(True)]
    assert dpo_loss(0.0, [2, 0], True).tolist() == pytest.approx(
        [expected[2], expected[0]], rel=1e-5
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_dpo_with_all_labels_flipped_is_dpo_of_swapped_pairs(normalize: bool) -> None:
    swapped = registry.dpo(PAIRS, SWAPPED, settings("dpo"), normalize, SEED)
    expected = swapped.loss(LOGPS.flip(1).flatten(), COUNTS.flip(1).flatten(), np.arange(4))
    assert dpo_loss(1.0, [0, 1, 2, 3], normalize).tolist() == expected.tolist()


def test_dpo_flips_the_pairs_that_the_seed_says() -> None:
    flipped = registry.flips(4, 0.5, SEED)
    expected = [
        softplus(chosen - rejected if flip else rejected - chosen)
        for (chosen, rejected), flip in zip(rewards(True), flipped, strict=True)
    ]
    assert flipped.sum() == 2
    index = [3, 1, 0, 2]
    assert dpo_loss(0.5, index, True).tolist() == pytest.approx(
        [expected[i] for i in index], rel=1e-5
    )


@pytest.mark.parametrize("label_noise", [0.0, 1.0])
def test_dpo_raises_what_the_label_prefers(label_noise: float) -> None:
    logps = LOGPS.clone().requires_grad_()
    objective = registry.dpo(PAIRS, REFERENCE, settings("dpo", label_noise), True, SEED)
    loss = objective.loss(logps.flatten(), COUNTS.flatten(), np.arange(4))
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert (gradient < 0).tolist() == [[label_noise == 0, label_noise == 1]] * 4


def test_dpo_examples_are_pairs() -> None:
    objective = registry.dpo(PAIRS, REFERENCE, settings("dpo"), True, SEED)
    assert objective.unit == "pairs"
    assert objective.items == [Item(pair, BOTH) for pair in range(4)]
    assert objective.weights.tolist() == [1, 1, 1, 1]


def test_kto_examples_alternate_between_chosen_and_rejected() -> None:
    objective = registry.kto(made_pairs(2), REFERENCE, settings("kto"), True, SEED)
    assert objective.unit == "examples"
    assert objective.items == [
        Item(0, ("chosen",)),
        Item(0, ("rejected",)),
        Item(1, ("chosen",)),
        Item(1, ("rejected",)),
    ]
    assert objective.weights.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("label_noise", [0.0, 0.5, 1.0])
def test_kto_is_the_formula_with_labels_that_follow_flips(
    label_noise: float, normalize: bool
) -> None:
    expected = []
    for (chosen, rejected), flip in zip(
        rewards(normalize), registry.flips(4, label_noise, SEED), strict=True
    ):
        sign = -1 if flip else 1
        expected += [
            softplus(-sign * (chosen - TARGET_KL)),
            softplus(sign * (rejected - TARGET_KL)),
        ]
    objective = registry.kto(PAIRS, REFERENCE, settings("kto", label_noise), normalize, SEED)
    index = np.array([5, 0, 7, 2, 1, 6, 3, 4])
    found = objective.loss(LOGPS.flatten()[index], COUNTS.flatten()[index], index)
    assert found.tolist() == pytest.approx([expected[i] for i in index], rel=1e-5)
    by_pair = registry.kto(PAIRS, REFERENCE, settings("kto", label_noise, "pairs"), normalize, SEED)
    found = by_pair.loss(LOGPS[[2, 0]].flatten(), COUNTS[[2, 0]].flatten(), np.array([2, 0]))
    sums = [expected[4] + expected[5], expected[0] + expected[1]]
    assert found.tolist() == pytest.approx(sums, rel=1e-5)


def test_kto_by_pairs_has_two_examples_an_item() -> None:
    objective = registry.kto(PAIRS, REFERENCE, settings("kto", shuffle="pairs"), True, SEED)
    assert objective.unit == "pairs"
    assert objective.items == [Item(pair, BOTH) for pair in range(4)]
    assert objective.weights.tolist() == [2, 2, 2, 2]
    assert objective.examples == 2


def test_dpo_and_kto_flip_the_same_pairs() -> None:
    flipped = registry.flips(4, 0.5, SEED)
    logps = torch.zeros(8, requires_grad=True)
    objective = registry.kto(PAIRS, REFERENCE, settings("kto", 0.5), True, SEED)
    loss = objective.loss(logps, torch.ones(8, dtype=torch.long), np.arange(8))
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert (gradient < 0).view(4, 2).tolist() == [[not flip, flip] for flip in flipped.tolist()]


def test_sft_is_the_negated_log_probability_of_chosen() -> None:
    objective = sft(PAIRS)
    assert objective.unit == "pairs"
    assert objective.items == [Item(pair, ("chosen",)) for pair in range(4)]
    found = objective.loss(LOGPS[:, 0], COUNTS[:, 0], np.arange(4))
    assert found.tolist() == [6.0, 2.0, 8.0, 3.0]


def test_sft_weights_count_scored_tokens() -> None:
    pairs = Pairs(
        rows=np.arange(3),
        prompt=ragged([[1, 2], [1], [1, 2, 3]]),
        chosen=ragged([[5, 6, 0], [5, 6, 7, 0], [0]]),
        rejected=ragged([[5, 0], [0], [5, 6, 0]]),
        # The second chosen response filled the length, so nothing stands before its first token.
        chosen_prompt_tokens=np.array([2, 0, 3]),
        rejected_prompt_tokens=np.array([2, 1, 0]),
    )
    assert sft(pairs).weights.tolist() == [3, 3, 1]
