"""Log-probabilities of both layouts against a loop over single sequences."""

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from preference.model import batches
from preference.model.abilities import Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps
from preference.store.examples import Examples, Ragged

LAYOUTS: tuple[Layout, ...] = ("plain", "shared", "packed")
MODELS = {"gpt2": naive.gpt2, "llama": naive.llama}


def scored(
    model: PreTrainedModel, pairs: Examples, abilities: Abilities, tokens_per_batch: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of all responses, through micro-batches."""
    # Those to one prompt together, as they stand.
    items = Ragged.of(np.arange(len(pairs.responses)), pairs.index.counts)
    sums, counts = np.zeros((2, len(pairs.responses)))
    sizes = batches.shapes(pairs, items, abilities.layout)
    with torch.no_grad():
        for group in batches.micro_batches(sizes, tokens_per_batch, abilities.layout):
            chosen = [items[item] for item in group]
            batch = batches.make(pairs, chosen, abilities.layout)
            responses = np.concatenate(chosen)
            sums[responses] = ResponseLogps(model, abilities)(batch).numpy()
            counts[responses] = batch.counts.numpy()
    return sums, counts


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("max_length", [60, 15, 9, 4])
def test_all_layouts_equal_single_sequences(
    kind: str, layout: Layout, bare: bool, max_length: int
) -> None:
    model = MODELS[kind]().double()
    pairs = naive.make_pairs(naive.random_texts(40), max_length)
    expected = naive.score(model, pairs)
    sums, counts = scored(model, pairs, Abilities(layout, bare), tokens_per_batch=150)
    np.testing.assert_allclose(sums, expected.logps, rtol=1e-9)
    assert counts.tolist() == expected.tokens.tolist()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("max_length", [60, 12])
def test_float32_equals_float64_to_rounding(kind: str, max_length: int) -> None:
    pairs = naive.make_pairs(naive.random_texts(40), max_length)
    expected = naive.score(MODELS[kind]().double(), pairs)
    for layout in LAYOUTS:
        sums, _ = scored(MODELS[kind](), pairs, Abilities(layout, bare_output=True))
        np.testing.assert_allclose(sums, expected.logps, rtol=1e-5)


def test_cut_pairs_are_among_the_cases() -> None:
    pairs = naive.make_pairs(naive.random_texts(40), 15)
    different = np.not_equal(*pairs.prompt_tokens[pairs.index.pairs].T)
    same_but_cut = ~different & (pairs.longest == 15)
    assert different.sum() > 5
    assert same_but_cut.sum() > 5
    assert (naive.make_pairs(naive.random_texts(40), 4).prompt_tokens == 0).sum() > 10


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
def test_any_pairs_score_the_same_in_all_layouts(
    texts: list[tuple[list[int], list[int], list[int]]], max_length: int, kind: str
) -> None:
    model = MODELS[kind]().double()
    pairs = naive.make_pairs(texts, max_length)
    plain, shared, packed = (scored(model, pairs, Abilities(layout, True))[0] for layout in LAYOUTS)
    np.testing.assert_allclose(shared, plain, rtol=1e-9)
    np.testing.assert_allclose(packed, plain, rtol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_all_layouts_agree(kind: str) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 20)
    items = list(pairs.index.pairs)
    gradients = []
    for layout in LAYOUTS:
        model = MODELS[kind]().double()
        # Without the bare output layer, the gradients are autograd's own.
        logps = ResponseLogps(model, Abilities(layout, layout != "plain"))
        logps(batches.make(pairs, items, layout)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, shared, packed in zip(*gradients, strict=True):
        # Llama's norms compute in float32 whatever the model's type.
        bound = 1e-9 if kind == "gpt2" else 1e-3
        torch.testing.assert_close(shared, plain, rtol=bound, atol=bound)
        torch.testing.assert_close(packed, plain, rtol=bound, atol=bound)


@pytest.mark.parametrize("kind", MODELS)
def test_bf16_gradients_are_as_near_to_float32_as_the_slow_layouts_are(kind: str) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 40)
    items = list(pairs.index.pairs)

    def gradient(layout: Layout, bf16: bool) -> torch.Tensor:
        model = MODELS[kind]()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logps = ResponseLogps(model, Abilities(layout, layout != "plain"))
            total = logps(batches.make(pairs, items, layout)).square().sum()
        total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    exact = gradient("plain", bf16=False)
    slow = (gradient("plain", bf16=True) - exact).norm() / exact.norm()
    fast = (gradient("packed", bf16=True) - exact).norm() / exact.norm()
    assert 0 < fast < 1.5 * slow < 0.05


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("max_length", [60, 9])
def test_many_responses_to_a_prompt_equal_single_sequences(
    kind: str, layout: Layout, max_length: int
) -> None:
    texts = [(prompt, [one, other, prompt]) for prompt, one, other in naive.random_texts(12)]
    examples = naive.make_examples(texts, max_length, [])
    model = MODELS[kind]().double()
    sums, _ = scored(model, examples, Abilities(layout, True), tokens_per_batch=150)
    np.testing.assert_allclose(sums, naive.score(model, examples).logps, rtol=1e-9)
