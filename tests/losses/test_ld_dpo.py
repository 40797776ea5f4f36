"""LD-DPO: by hand, against TRL's, and of a real model's tokens against a naive sum."""

import math
from dataclasses import replace
from pathlib import Path

import loss_cases
import naive
import numpy as np
import pytest
import settings
import torch

from preference.losses import named
from preference.model import batches
from preference.model.abilities import Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps
from preference.objectives.public_length import to_public_length

ALPHA = 0.3


def test_it_by_hand() -> None:
    """Of scores that are what they are, it is DPO."""
    value, slopes = loss_cases.by_hand("ld_dpo", beta=0.1, alpha=ALPHA)
    assert value == pytest.approx(math.log(1 + math.exp(-0.2)))
    slope = 0.1 / (1 + math.exp(0.2))
    assert slopes == loss_cases.slopes(-slope, slope)


@pytest.mark.parametrize("alpha", [0.0, ALPHA, 1.0])
def test_it_is_as_trl_has_it(alpha: float) -> None:
    loss_cases.length_desensitized_as_trl_has_it("ld_dpo", alpha)


@pytest.mark.parametrize("layout", ["packed", "shared", "plain"])
def test_of_a_models_own_tokens(layout: Layout) -> None:
    """Loss and gradient of a step are those of sums over tokens, one response at a time."""
    beta, pairs = 0.4, naive.make_pairs(naive.random_texts(7, seed=4), 30)
    policy, reference = naive.gpt2(1).double(), naive.gpt2(2).double()
    cut, asked = to_public_length(pairs), settings.train(objective="ld_dpo", beta=beta)
    asked = asked.model_copy(update={"options": {"alpha": ALPHA}})
    lengths = pairs.responses.lengths[pairs.index.pairs]
    assert (lengths[:, 0] > lengths[:, 1]).any()
    assert (lengths[:, 0] < lengths[:, 1]).any()

    terms = []
    for pair in pairs.index.pairs:
        margin = torch.zeros((), dtype=torch.float64)
        for response, sign in zip(pair, (1, -1), strict=True):
            for model, by in ((policy, sign), (reference, -sign)):
                whole, first = (
                    naive.response_logp(model, *naive.sequence(each, response))[0]
                    for each in (pairs, cut)
                )
                margin = margin + by * (first + ALPHA * (whole - first))
        terms.append(naive.log_sigmoid(beta * margin).neg())
    expected = torch.stack(terms).mean()
    expected.backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    policy.zero_grad()

    scored = (naive.score(reference, each) for each in (pairs, cut))
    # Means over tokens are not asked for, whatever the params say.
    task = named("ld_dpo").task(pairs, *(next(scored),), asked, True, 1, next(scored))
    scorer = ResponseLogps(policy, Abilities(layout, bare_output=layout == "packed"))
    batch = batches.make(task.examples, list(task.items), layout)
    losses = task.loss(scorer(batch), batch.counts, np.arange(len(pairs.index.pairs)), None)
    losses.mean().backward()
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-6, atol=0)
    found = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-7)
    # Where the whole response counts, it is DPO.
    plain = replace(task.examples, beyond=1.0)
    sums = scorer(batches.make(plain, list(task.items), layout))
    torch.testing.assert_close(sums, scorer(batches.make(pairs, list(task.items), layout)))


def test_its_gradient_is_finite_and_its_own() -> None:
    loss_cases.has_its_gradient("ld_dpo")
    loss_cases.is_finite_at_extremes("ld_dpo")


def test_options_are_refused_by_name(tmp_path: Path) -> None:
    said = "train.options.alpha: input should be less than or equal to 1 (it is 2.0)"
    loss_cases.refused(tmp_path, "ld_dpo", said, alpha=2.0)
