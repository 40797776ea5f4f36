"""Losses by hand, by finite differences, and as the peer library has them."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import data_helpers
import naive
import pytest
import settings
import torch
from torch import Tensor

from preference.objectives.batch import Batch
from preference.objectives.registry import named

Options = dict[str, Any]


def batch_of(name: str, sums: Tensor, reference: Tensor, tokens: Tensor, normalize: bool) -> Batch:
    """What an objective is given of a step of pairs; all (pairs, 2), sums in nats, chosen first."""
    objective = named(name)
    scores = [x / tokens if objective.normalizes(normalize) else x for x in (sums, reference)]
    desirable = torch.tensor([True, False]).expand(sums.shape)
    anchor = scores[1] if objective.reference else torch.zeros_like(sums)
    batch = Batch(scores[0], anchor, desirable, sums, tokens)
    with torch.no_grad():
        return batch.given(objective.statistic(batch) if objective.statistic else None)


def loss_of(name: str, batch: Batch, beta: float, options: Options) -> Tensor:
    objective, asked = named(name), settings.train(objective=name, beta=beta, options=options)
    return objective.loss(batch, asked, objective.asked(asked))


def by_hand(
    name: str, beta: float, *, statistic: float | None = None, **options: Any
) -> tuple[float, list[float]]:
    """The loss of one pair, and its slopes by the sums of the chosen and the rejected response.

    Sums are -10 and -12, of 5 and 4 tokens; the reference's are -11 and -11. So the log-ratios are
    1 and -1, and the means are -2 and -3.
    """
    sums = torch.tensor([[-10.0, -12.0]], dtype=torch.float64, requires_grad=True)
    reference, tokens = torch.tensor([[-11.0, -11.0]]).double(), torch.tensor([[5, 4]])
    batch = batch_of(name, sums, reference, tokens, normalize=False)
    if statistic is not None:
        batch = batch.given(torch.tensor(statistic, dtype=torch.float64))
    loss = loss_of(name, batch, beta, options)
    assert loss.shape == (1,)
    (slopes,) = torch.autograd.grad(loss.sum(), sums)
    return loss.item(), slopes[0].tolist()


@dataclass(frozen=True)
class Step:
    """A step of pairs, token by token.

    Attributes:
        logps: (2 x pairs, tokens), the chosen responses first; 0 where `mask` is.
        mask: which of them are a response's.
        reference: sums in nats, (pairs, 2).
    """

    logps: Tensor
    mask: Tensor
    reference: Tensor

    @property
    def tokens(self) -> Tensor:
        return torch.stack(self.mask.sum(1).chunk(2), dim=1)

    @property
    def sums(self) -> Tensor:
        return torch.stack(self.logps.sum(1).chunk(2), dim=1)

    def batch(self, name: str, normalize: bool) -> Batch:
        return batch_of(name, self.sums, self.reference, self.tokens, normalize)


def random_step(pairs: int = 6, seed: int = 0, equal: bool = False) -> Step:
    """Responses of 1 to 7 tokens, of 5 each where they are to be `equal`ly long."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 8, (2 * pairs, 1), generator=generator)
    mask = torch.arange(7) < (torch.full_like(lengths, 5) if equal else lengths)
    made = [-3 * torch.rand(mask.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    logps, reference = (values * mask for values in made)
    sums = torch.stack(reference.sum(1).chunk(2), dim=1)
    return Step(logps.requires_grad_(), mask, sums)


def agree(ours: Tensor, theirs: Tensor, step: Step, rtol: float = 1e-10) -> None:
    """Both losses of a step are one, in value and by every token's log-probability."""
    torch.testing.assert_close(ours.mean(), theirs.mean(), rtol=rtol, atol=1e-12)
    found, expected = (
        torch.autograd.grad(loss.mean(), step.logps)[0][step.mask] for loss in (ours, theirs)
    )
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(found, expected, rtol=100 * rtol, atol=1e-12)


def as_trl_has_it(
    name: str,
    loss_type: str | list[str],
    *,
    beta: float = 0.7,
    normalize: bool = False,
    options: Options | None = None,
    statistic: float | None = None,
    weights: list[float] | None = None,
    equal: bool = False,
    rtol: float = 1e-10,
) -> None:
    """A loss against that of the peer's `DPOTrainer`, given the same log-probabilities.

    Args:
        statistic: what ours is to have of the step; its own where it is left out.
        weights: of the peer's losses, where there are several.
        equal: all responses are equally long.
    """
    for seed in range(3):
        step = random_step(seed=seed, equal=equal)
        batch = step.batch(name, normalize)
        if statistic is not None:
            batch = batch.given(torch.tensor(statistic, dtype=torch.float64))
        kinds = [loss_type] if isinstance(loss_type, str) else loss_type
        asked = options or {}
        theirs = _peer_loss(step, kinds, beta, weights or [1.0], asked)
        agree(loss_of(name, batch, beta, asked), theirs, step, rtol)


def _peer_loss(
    step: Step, kinds: list[str], beta: float, weights: list[float], options: Options
) -> Tensor:
    from trl import DPOTrainer

    trainer = MagicMock(beta=beta, loss_types=kinds, loss_weights=weights, ld_alpha=None)
    trainer.label_smoothing = options.get("label_smoothing", 0.0)
    trainer.args.discopop_tau = options.get("tau", 0.05)
    trainer.f_divergence_type = "reverse_kl"
    trainer.precompute_ref_logps = True
    trainer.use_weighting = trainer.aux_loss_enabled = False
    trainer.accelerator.device = torch.device("cpu")
    trainer.accelerator.gather = trainer.accelerator.gather_for_metrics = lambda values: values
    trainer._metrics = defaultdict(lambda: defaultdict(list))
    zeros = torch.zeros_like(step.logps)
    outputs = SimpleNamespace(
        log_probs=step.logps, entropy=zeros, mean_logits=zeros, is_top1=zeros > 0
    )
    # One token of a prompt stands before each response.
    mask = torch.nn.functional.pad(step.mask.long(), (1, 0))
    chosen, rejected = step.reference.unbind(1)
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    return DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)


def has_its_gradient(name: str, beta: float = 0.7, **options: Any) -> None:
    """Its gradient is that of finite differences, with means and with sums."""
    step = random_step()
    for normalize in (True, False):
        start = step.batch(name, normalize)

        def loss(sums: Tensor, normalize: bool = normalize, start: Batch = start) -> Tensor:
            batch = batch_of(name, sums, step.reference, step.tokens, normalize)
            return loss_of(name, replace(batch, statistic=start.statistic), beta, options)

        sums = step.sums.detach().requires_grad_()
        assert torch.autograd.gradcheck(loss, sums)


def is_finite_at_extremes(name: str, beta: float = 1.0, **options: Any) -> None:
    """Loss and gradient in float32, for responses of any likelihood."""
    for chosen, rejected in ((-1e3, -1e-9), (-1e-9, -1e3), (0.0, 0.0), (-1e3, -1e3)):
        sums = torch.tensor([[chosen, rejected]], requires_grad=True)
        tokens = torch.ones(1, 2, dtype=torch.long)
        batch = batch_of(name, sums, torch.full((1, 2), -50.0), tokens, normalize=True)
        loss = loss_of(name, batch, beta, options)
        (slopes,) = torch.autograd.grad(loss.sum(), sums)
        assert loss.isfinite().all(), (chosen, rejected)
        assert slopes.isfinite().all(), (chosen, rejected)


def measures_its_loss(name: str, beta: float = 0.7, **options: Any) -> None:
    """The `loss` metric of scores is the loss's own function of them, of all pairs as one step."""
    step, objective = random_step(), named(name)
    asked = settings.train(objective=name, beta=beta, options=options)
    policy, reference = (
        naive.make_scores(*zip(sums.T.tolist(), step.tokens.T.tolist(), strict=True))
        for sums in (step.sums.detach(), step.reference)
    )
    for normalize in (True, False):
        found = objective.against_reference(policy, reference, asked, normalize)
        batch = step.batch(name, normalize)
        expected = loss_of(name, batch, beta, options).mean().item()
        assert found["loss"] == pytest.approx(expected, rel=1e-12)
        reward = beta * batch.margin.detach()
        assert found["reward"] == pytest.approx(reward.mean().item(), rel=1e-12)
        accuracy = found.get("reward_acc", found.get("dpo_acc"))
        assert accuracy == (reward > 0).double().mean().item()
        assert {"chosen_log_ratio", "rejected_log_ratio"} < set(found)


def refused(directory: Path, name: str, message: str, **options: Any) -> None:
    """A params file that asks for such options of an objective is refused, by the key's name."""
    changes: dict[str, object] = {"train.objective": name, "train.options": options}
    path = data_helpers.write_params(directory / "params.yaml", changes)
    assert message in data_helpers.refused_params(path)


def slopes(chosen: float, rejected: float) -> Any:
    return pytest.approx([chosen, rejected], rel=1e-10)
