"""How far two ways to run a model are apart, on random tokens."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from transformers import PreTrainedModel

from preference.model import batches
from preference.model.abilities import Abilities, Scorer
from preference.model.batches import Batch
from preference.store.examples import Examples, Ragged
from preference.store.index import Index

SCORED = 32  # tokens of a response that are looked at, from its first to its last


def of_logps(
    scorer: Scorer,
    texts: Examples,
    trusted: Abilities,
    tried: Abilities,
    run: Callable[[Batch], Tensor] | None = None,
) -> float:
    """Log-probabilities: how far they are apart, as a share of the largest one of a token.

    The trusted one takes each response by itself, so that no other can have an influence.

    Args:
        run: what computes the scorer's forward pass, where that is not the scorer by itself.
    """
    device = scorer.model.device

    def logps(items: list[np.ndarray], abilities: Abilities) -> Tensor:
        batch = _by_token(_laid_out(scorer, texts, items, abilities))
        return (run or scorer)(batch.to(device)).float()

    found = logps(_together(texts), tried)
    alone = np.arange(len(texts.responses))[:, None]
    expected = torch.cat([logps([one], trusted) for one in alone])
    return float((found - expected).abs().max() / expected.abs().max())


def of_gradients(scorer: Scorer, texts: Examples, trusted: Abilities, tried: Abilities) -> float:
    """Gradients by the first and the last compiled layer: the same, as a share of their norm.

    Those of the layers between go through the same, and would take memory. Where there are none as
    it is, in fp16 without its scale, nothing is apart.
    """
    layers = scorer.compiled[0].module, scorer.compiled[-1].module
    weights = [w for layer in layers for w in layer.parameters() if w.requires_grad]

    def gradient(abilities: Abilities) -> tuple[Tensor, ...]:
        batch = _laid_out(scorer, texts, _together(texts), abilities)
        with torch.enable_grad():
            logps = scorer(batch.to(scorer.model.device))
            # As many signs and sizes as responses: no exchange between them is hidden.
            signs = torch.linspace(-1, 2, len(logps)).to(logps)
            return torch.autograd.grad(logps @ signs, weights)

    found, expected = gradient(tried), gradient(trusted)
    apart = [one - other for one, other in zip(found, expected, strict=True)]
    whole = get_total_norm(expected)
    return float(get_total_norm(apart) / whole) if whole.isfinite() else 0.0


def _together(texts: Examples) -> list[np.ndarray]:
    """The responses of each prompt."""
    prompts = texts.index.prompt_of
    return np.split(np.arange(len(prompts)), np.flatnonzero(np.diff(prompts)) + 1)


def _laid_out(
    scorer: Scorer, texts: Examples, items: list[np.ndarray], abilities: Abilities
) -> Batch:
    """A batch laid out by these shortcuts, by which the scorer goes from here on."""
    scorer.take(abilities)
    return batches.make(texts, items, abilities.layout)


def _by_token(batch: Batch) -> Batch:
    """The same inputs, with some tokens of each response scored, each as if it were a response."""
    ends = batch.counts.cumsum(0).tolist()
    chosen = torch.cat(
        [
            torch.linspace(end - count, end - 1, min(count, SCORED)).long()
            for end, count in zip(ends, batch.counts.tolist(), strict=True)
        ]
    )
    return replace(
        batch,
        predicted_from=batch.predicted_from[chosen],
        targets=batch.targets[chosen],
        response=torch.arange(len(chosen)),
        counts=torch.ones(len(chosen), dtype=batch.counts.dtype),
    )


def random_texts(model: PreTrainedModel, longest: int) -> Examples:
    """Random tokens: two short responses to a short prompt, and two to one of half the length."""
    generator = np.random.default_rng(0)
    head = model.get_output_embeddings()
    vocabulary = min(
        model.get_input_embeddings().num_embeddings, getattr(head, "out_features", 2**31)
    )
    half = max(1, longest // 2)
    short = min(half, 16)
    prompts, responses = (
        Ragged.of(generator.integers(vocabulary, size=sum(n), dtype=np.int32), np.array(n))
        for n in (
            (max(1, short // 2), max(1, longest - half)),
            (short, max(1, short // 2), max(1, half // 2), half),
        )
    )
    prompt_of, pairs = np.array([0, 0, 1, 1]), np.array([[0, 1], [2, 3]])
    index = Index(np.arange(2), prompt_of, pairs, np.full(4, -1), np.ones(4))
    return Examples(index, prompts, responses, prompts.lengths[prompt_of])
