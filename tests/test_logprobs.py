"""Log-probabilities of both layouts against a loop over single sequences."""

from collections.abc import Callable

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from preference import batches
from preference.logprobs import Abilities, ResponseLogps, probe
from preference.tables import Pairs

MODELS = {"gpt2": naive.gpt2, "llama": naive.llama}


def scored(
    model: PreTrainedModel, pairs: Pairs, abilities: Abilities, tokens_per_batch: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of all pairs, (pairs, 2) each, through micro-batches."""
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    sums, counts = np.zeros((len(pairs), 2)), np.zeros((len(pairs), 2), dtype=int)
    sizes = batches.shapes(pairs, items, abilities.shared_prompts)
    with torch.no_grad():
        for group in batches.micro_batches(sizes, tokens_per_batch):
            batch = batches.make(pairs, [items[i] for i in group], abilities.shared_prompts)
            sums[group] = ResponseLogps(model, abilities)(batch).view(-1, 2).numpy()
            counts[group] = batch.counts.view(-1, 2).numpy()
    return sums, counts


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("max_length", [60, 15, 9, 4])
def test_both_layouts_equal_single_sequences(
    kind: str, shared: bool, bare: bool, max_length: int
) -> None:
    model = MODELS[kind]().double()
    pairs = naive.make_pairs(naive.random_texts(40), max_length)
    expected = naive.score(model, pairs)
    sums, counts = scored(model, pairs, Abilities(shared, bare), tokens_per_batch=150)
    np.testing.assert_allclose(sums[:, 0], expected.chosen_logp, rtol=1e-9)
    np.testing.assert_allclose(sums[:, 1], expected.rejected_logp, rtol=1e-9)
    assert counts[:, 0].tolist() == expected.chosen_tokens.tolist()
    assert counts[:, 1].tolist() == expected.rejected_tokens.tolist()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("max_length", [60, 12])
def test_float32_equals_float64_to_rounding(kind: str, max_length: int) -> None:
    pairs = naive.make_pairs(naive.random_texts(40), max_length)
    expected = naive.score(MODELS[kind]().double(), pairs)
    for shared in (True, False):
        sums, _ = scored(MODELS[kind](), pairs, Abilities(shared, bare_output=True))
        np.testing.assert_allclose(sums[:, 0], expected.chosen_logp, rtol=1e-5)
        np.testing.assert_allclose(sums[:, 1], expected.rejected_logp, rtol=1e-5)


def test_cut_pairs_are_among_the_cases() -> None:
    pairs = naive.make_pairs(naive.random_texts(40), 15)
    different = pairs.chosen_prompt_tokens != pairs.rejected_prompt_tokens
    same_but_cut = ~different & (pairs.longest == 15)
    assert different.sum() > 5
    assert same_but_cut.sum() > 5
    assert (naive.make_pairs(naive.random_texts(40), 4).chosen_prompt_tokens == 0).sum() > 5


tokens = st.lists(st.integers(0, naive.VOCABULARY - 1), max_size=9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            tokens.filter(len),
            tokens.filter(lambda t: len(t) > 1),
            tokens.filter(lambda t: len(t) > 1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(2, 20),
    st.sampled_from(sorted(MODELS)),
)
def test_any_pairs_score_the_same_in_both_layouts(
    texts: list[tuple[list[int], list[int], list[int]]], max_length: int, kind: str
) -> None:
    model = MODELS[kind]().double()
    pairs = naive.make_pairs(texts, max_length)
    shared, _ = scored(model, pairs, Abilities(True, True))
    plain, _ = scored(model, pairs, Abilities(False, True))
    np.testing.assert_allclose(shared, plain, rtol=1e-9)


def test_gradients_of_both_layouts_agree() -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 20)
    items = [batches.Item(pair, batches.BOTH) for pair in range(len(pairs))]
    gradients = []
    for shared in (True, False):
        model = naive.gpt2().double()
        logps = ResponseLogps(model, Abilities(shared, True))
        logps(batches.make(pairs, items, shared)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_probe_finds_both_shortcuts_exact(kind: str) -> None:
    assert probe(MODELS[kind](), 40) == Abilities(shared_prompts=True, bare_output=True)


def mistral_with_window() -> PreTrainedModel:
    torch.manual_seed(0)
    config = MistralConfig(**naive.LLAMA_SIZE, sliding_window=8)
    return MistralForCausalLM(config).eval()


def gemma2_with_soft_caps() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Gemma2Config(
        **naive.LLAMA_SIZE, head_dim=4, sliding_window=64, final_logit_softcapping=1.0
    )
    return Gemma2ForCausalLM(config).eval()


def bloom_with_distances() -> PreTrainedModel:
    torch.manual_seed(0)
    config = BloomConfig(
        vocab_size=naive.VOCABULARY, hidden_size=16, n_layer=2, n_head=4, initializer_range=0.3
    )
    return BloomForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (mistral_with_window, "shared_prompts"),
        (gemma2_with_soft_caps, "bare_output"),
        (bloom_with_distances, "shared_prompts"),
    ],
)
def test_probe_refuses_a_shortcut_that_changes_numbers(
    make: Callable[[], PreTrainedModel], lost: str
) -> None:
    model = make()
    abilities = probe(model, 40)
    assert not getattr(abilities, lost)
    pairs = naive.make_pairs(naive.random_texts(20, longest=18), 40)
    expected = naive.score(model, pairs)
    sums, _ = scored(model, pairs, abilities)
    np.testing.assert_allclose(sums[:, 0], expected.chosen_logp, rtol=1e-5)
    np.testing.assert_allclose(sums[:, 1], expected.rejected_logp, rtol=1e-5)


def test_probe_leaves_the_model_as_it_was() -> None:
    model = naive.gpt2().train()
    probe(model, 20)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
