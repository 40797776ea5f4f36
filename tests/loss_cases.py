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

from preference.losses import named
from preference.objectives.batch import Batch
from preference.store.scores import Scores

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


@dataclass(frozen=True)
class LabelledStep:
    """A step of labelled responses, token by token.

    Attributes:
        logps: (responses, tokens); 0 where `mask` is.
        mask: which of them are a response's.
        reference: sums in nats, (responses,).
        desirable: (responses,).
        apart: sums of mismatched combinations by the policy and by the reference, (2, responses).
    """

    logps: Tensor
    mask: Tensor
    reference: Tensor
    desirable: Tensor
    apart: Tensor

    def batch(self, name: str, sums: Tensor | None = None, normalize: bool = False) -> Batch:
        """What an objective is given, of other sums where some are given."""
        objective, tokens = named(name), self.mask.sum(1)
        by = tokens if normalize else torch.ones_like(tokens)
        sums = self.logps.sum(1) if sums is None else sums
        batch = Batch(sums / by, self.reference / by, self.desirable, sums, tokens)
        scored = replace(batch, policy=self.apart[0] / by, reference=self.apart[1] / by)
        with torch.no_grad():
            found = scored if objective.beside == "mismatched" else batch
            return batch.given(objective.statistic(found) if objective.statistic else None)


def random_labelled(responses: int = 12, seed: int = 0, higher: float = 0.5) -> LabelledStep:
    """Responses of 1 to 7 tokens; `higher` by a token is the policy in mismatched combinations."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.randint(1, 8, (responses, 1), generator=generator)
    logps, reference, *apart = (
        -3 * torch.rand(mask.shape, generator=generator, dtype=torch.float64) * mask
        for _ in range(4)
    )
    sums = torch.stack([each.sum(1) for each in apart])
    sums[0] += higher * mask.sum(1)
    desirable = torch.rand(responses, generator=generator) < 0.4
    return LabelledStep(logps.requires_grad_(), mask, reference.sum(1), desirable, sums)


def by_hand_of_labels(
    name: str, beta: float, statistic: float | None = None, **options: Any
) -> tuple[list[float], list[float]]:
    """The losses of a desirable and of an undesirable response, and their slopes by the sums.

    Sums are -10 and -12, of 5 and 4 tokens; the reference's are -11 and -11. So the log-ratios are
    1 and -1.
    """
    sums = torch.tensor([-10.0, -12.0], dtype=torch.float64, requires_grad=True)
    reference, desirable = torch.full((2,), -11.0).double(), torch.tensor([True, False])
    batch = Batch(sums, reference, desirable, sums, torch.tensor([5, 4]))
    batch = batch.given(None if statistic is None else sums.new_tensor(statistic))
    losses = loss_of(name, batch, beta, options)
    (found,) = torch.autograd.grad(losses.sum(), sums)
    return losses.tolist(), found.tolist()


def agree(ours: Tensor, theirs: Tensor, step: Step | LabelledStep, rtol: float = 1e-10) -> None:
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


def length_desensitized_as_trl_has_it(name: str, alpha: float, beta: float = 0.7) -> None:
    """A loss of scores whose tokens beyond the shorter response's length count alpha."""
    step, asked = random_step(), {"alpha": alpha}
    place, shorter = step.mask.cumsum(1), step.tokens.min(1).values.repeat(2)
    assert (step.tokens[:, 0] != step.tokens[:, 1]).any()
    whole = torch.ones_like(step.logps)
    weighed = step.logps * torch.where(place > shorter[:, None], alpha * whole, whole)
    sums = torch.stack(weighed.sum(1).chunk(2), dim=1)
    batch = batch_of(name, sums, step.reference, step.tokens, normalize=True)
    theirs = _peer_loss(step, ["sigmoid"], beta, [1.0], asked, ld_alpha=alpha)
    agree(loss_of(name, batch, beta, asked), theirs, step)


def _peer_loss(
    step: Step,
    kinds: list[str],
    beta: float,
    weights: list[float],
    options: Options,
    ld_alpha: float | None = None,
) -> Tensor:
    from trl import DPOTrainer

    trainer = MagicMock(beta=beta, loss_types=kinds, loss_weights=weights, ld_alpha=ld_alpha)
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


def labels_as_trl_has_them(
    name: str, loss_type: str, options: Options | None = None, beta: float = 0.3
) -> None:
    """A loss of labelled responses against that of the peer's `KTOTrainer`."""
    # A divergence that is above 0, and one that is not.
    for seed, higher in ((0, 0.5), (1, 1.0), (2, -0.5)):
        step = random_labelled(seed=seed, higher=higher)
        ours = loss_of(name, step.batch(name), beta, options or {})
        agree(ours, _peer_loss_of_labels(step, loss_type, beta, options or {}), step)


def _peer_loss_of_labels(
    step: LabelledStep, loss_type: str, beta: float, options: Options
) -> Tensor:
    from trl import KTOTrainer

    trainer = MagicMock(beta=beta, loss_type=loss_type, calculate_KL=loss_type == "kto")
    for name in ("desirable_weight", "undesirable_weight"):
        setattr(trainer, name, options.get(name, 1.0))
    trainer.model.training = trainer.aux_loss_enabled = False
    trainer._compute_kl_logps = lambda *_: step.apart[0]
    trainer.accelerator.device = torch.device("cpu")
    trainer.accelerator.gather_for_metrics = lambda values: values
    trainer._metrics = defaultdict(lambda: defaultdict(list))
    zeros = torch.zeros_like(step.logps)
    outputs = SimpleNamespace(log_probs=step.logps, entropy=zeros, mean_logits=zeros)
    mask = torch.nn.functional.pad(step.mask.long(), (1, 0))
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "label": step.desirable,
        "ref_logps": step.reference,
        "ref_KL_logps": step.apart[1],
    }
    return KTOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)


def labels_have_their_gradient(name: str, beta: float = 0.7, **options: Any) -> None:
    """The gradient is that of finite differences, with means and with sums; finite at extremes."""
    step = random_labelled()
    for normalize in (True, False):
        start = step.batch(name, normalize=normalize)

        def loss(sums: Tensor, normalize: bool = normalize, start: Batch = start) -> Tensor:
            batch = step.batch(name, sums, normalize)
            return loss_of(name, replace(batch, statistic=start.statistic), beta, options)

        assert torch.autograd.gradcheck(loss, step.logps.sum(1).detach().requires_grad_())
    for gap in (-1e4, 0.0, 1e4):
        sums = torch.full((2,), gap, requires_grad=True)
        batch = Batch(sums, torch.zeros(2), torch.tensor([True, False]), sums, torch.ones(2))
        losses = loss_of(name, batch.given(torch.tensor(0.5)), 1.0, options)
        (slopes,) = torch.autograd.grad(losses.sum(), sums)
        assert losses.isfinite().all()
        assert slopes.isfinite().all()


def measures_its_loss_of_labels(name: str, beta: float = 0.7, **options: Any) -> None:
    """The `loss` metric of scores is the loss's own function of them, of all as one step.

    The KL term, which there are no test scores for, is 0 in it.
    """
    step, objective = random_labelled(), named(name)
    step = replace(step, apart=torch.zeros_like(step.apart))
    asked = settings.train(objective=name, beta=beta, options=options)
    index = naive.make_index([1] * len(step.desirable), [])
    index.labels[:] = step.desirable.numpy()
    policy, reference = (
        Scores(index, sums.detach().numpy(), step.mask.sum(1).numpy())
        for sums in (step.logps.sum(1), step.reference)
    )
    for normalize in (True, False):
        found = objective.against_reference(policy, reference, asked, normalize)
        batch = step.batch(name, normalize=normalize)
        expected = loss_of(name, batch, beta, options).mean().item()
        assert found["loss"] == pytest.approx(expected, rel=1e-12)
        reward = beta * (batch.policy - batch.reference).detach()
        right = ((reward > 0) == step.desirable).double().mean().item()
        assert found["label_acc"] == pytest.approx(right)
        assert found["desired_reward"] == pytest.approx(reward[step.desirable].mean().item())
        assert found["undesired_reward"] == pytest.approx(reward[~step.desirable].mean().item())


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
