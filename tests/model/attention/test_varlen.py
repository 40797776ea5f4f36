"""Packed rows as a GPU's kernel takes them: the plan against attention row by row.

The kernel itself is not to be had on a CPU. What it is documented to compute is written out here;
and what it registers for tensors without values tells whether it takes what it is given.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn.attention import varlen as kernels
from torch.utils._python_dispatch import TorchDispatchMode

from preference.model import batches
from preference.model.abilities import Abilities
from preference.model.attention import packing, rows, varlen
from preference.model.batches import Batch
from preference.model.scorer import ResponseLogps

HEADS, GROUPS, WIDTH = 6, 2, 4
CUDA = torch.device("cuda")


class Heads(nn.Module):
    is_causal = True
    num_key_value_groups = HEADS // GROUPS


class Calls(TorchDispatchMode):
    """Names of the operations that are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(function.name())
        return function(*args, **kwargs or {})


def of_texts(texts: list[tuple[list[int], list[list[int]]]], longest: int) -> Batch:
    """All responses to each prompt, packed; where they keep the same prompt, in one row."""
    examples = naive.make_examples(texts, longest, [])
    items = np.split(np.arange(len(examples.responses)), np.cumsum(examples.index.counts)[:-1])
    return batches.make(examples, items, "packed")


def planned(batch: Batch) -> varlen.Sequences:
    return varlen.plan(batch.segments[0].numpy(), batch.lengths)


def test_a_pair_is_two_sequences_by_hand() -> None:
    batch = of_texts([([5, 6], [[7, 8], [9]]), ([3], [[2, 1]])], 10)
    found = planned(batch)
    # What fills the batch up to 16 positions comes last, by itself.
    assert found.cu_q.tolist() == [0, 4, 5, 8, 16]
    assert found.cu_k.tolist() == [0, 4, 7, 10, 18]
    assert (found.max_q, found.max_k) == (8, 8)
    assert found.keys is not None
    assert found.keys.tolist() == [0, 1, 2, 3, 0, 1, *range(4, 16)]
    assert {t.dtype for t in (found.cu_q, found.cu_k, found.keys)} == {torch.int32}


def test_single_responses_gather_nothing() -> None:
    batch = of_texts([([5, 6], [[7, 8]]), ([3], [[2] * 20])], 30)
    found = planned(batch)
    assert found.keys is None
    assert found.cu_q.tolist() == found.cu_k.tolist() == [0, 4, 25, 32]
    assert (found.max_q, found.max_k) == (21, 21)


TOKENS = st.lists(st.integers(1, naive.VOCABULARY - 1), min_size=1, max_size=9)
TEXTS = st.lists(
    st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=3)), min_size=1, max_size=6
)


@given(TEXTS, st.integers(2, 20), st.sampled_from([None, 0.3]), st.integers(0, 2**16))
def test_one_call_for_all_rows_is_attention_row_by_row(
    texts: list[tuple[list[int], list[list[int]]]], longest: int, scaling: float | None, seed: int
) -> None:
    """Forward and backward, with and without prompts, of one to three responses a row."""
    batch = of_texts(texts, longest)
    tokens, real = batch.input_ids.shape[1], batch.segments[0] >= 0
    torch.manual_seed(seed)
    q, k, v, direction = (
        torch.randn(1, heads, tokens, WIDTH, dtype=torch.float64, requires_grad=True)
        for heads in (HEADS, GROUPS, GROUPS, HEADS)
    )
    known = packing.Packing(batch.segments[0], batch.lengths, batch.shared)
    ours, _ = rows.by_row(Heads(), q, k, v, None, packing=known, scaling=scaling)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "varlen_attn", naive.varlen_attn)
        found = varlen.attention(q, k, v, planned(batch), scaling)
    assert found.shape == ours.shape
    torch.testing.assert_close(found[0, real], ours[0, real], rtol=1e-12, atol=1e-12)
    weight = direction.detach().transpose(1, 2) * real[None, :, None, None]
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((ours * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def pairs() -> Batch:
    """Some in packed rows, planned."""
    examples = naive.make_pairs(naive.random_texts(8), 20)
    batch = batches.make(examples, list(examples.index.pairs), "packed")
    assert batch.shared
    return replace(batch, sequences=planned(batch))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_whole_model_scores_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = pairs(), getattr(naive, kind)().double()
    scorer = ResponseLogps(model, Abilities("packed", bare_output=True))
    expected = scorer(batch)
    monkeypatch.setattr(kernels, "varlen_attn", naive.varlen_attn)
    monkeypatch.setattr(varlen, "takes", lambda value: True)
    torch.testing.assert_close(scorer(batch), expected, rtol=1e-12, atol=0)


@pytest.fixture
def in_bf16() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(before)


def without_values(batch: Batch, device: str) -> Batch:
    return batch.each(lambda x: torch.empty(x.shape, dtype=x.dtype, device=device))


@pytest.mark.usefixtures("in_bf16")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_whole_model_calls_the_kernel_and_reads_nothing_back(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward."""
    # Autograd knows only devices that torch is built for.
    monkeypatch.setattr(varlen, "takes", lambda value: True)
    made, make, called = pairs(), getattr(naive, kind), Calls()
    with FakeTensorMode():
        batch = without_values(made, "cpu")
        scorer = ResponseLogps(make(), Abilities("packed", bare_output=True))
        with called:
            found = scorer(batch)
            found.sum().backward()
        # Nor could it: whoever asks for a value here fails.
        with pytest.raises(DataDependentOutputException):
            found.sum().item()
        for parameter in scorer.parameters():
            assert parameter.grad is not None
            assert parameter.grad.shape == parameter.shape
    # In each of two layers.
    for name in ("_varlen_attn", "_varlen_attn_backward"):
        assert called.names.count(f"torch_attn::{name}") == 2


def test_on_a_gpu_the_kernel_takes_what_it_is_given() -> None:
    """Rotary positions leave queries and keys in float32."""
    made, called = pairs(), Calls()
    with FakeTensorMode(), torch.no_grad(), called:
        batch = without_values(made, "cuda")
        tokens = batch.input_ids.shape[1]
        q, k, v = (
            torch.empty(1, heads, tokens, WIDTH, dtype=dtype, device="cuda")
            for heads, dtype in (
                (HEADS, torch.float32), (GROUPS, torch.float32), (GROUPS, torch.bfloat16),
            )
        )  # fmt: skip
        known = packing.Packing(batch.segments, batch.lengths, batch.shared, batch.sequences)
        found, _ = rows.by_row(Heads(), q, k, v, None, packing=known)
        assert found.shape == (1, tokens, HEADS, WIDTH)
        assert (found.device.type, found.dtype) == ("cuda", torch.bfloat16)
        assert "torch_attn::_varlen_attn" in called.names
        with pytest.raises(NotImplementedError, match="sliding_window"):
            rows.by_row(Heads(), q, k, v, None, packing=known, sliding_window=4)


def test_it_is_for_half_precision_on_cuda() -> None:
    with FakeTensorMode():
        for device, dtype, taken in (
            ("cuda", torch.bfloat16, True),
            ("cuda", torch.float16, True),
            ("cuda", torch.float32, False),
            ("cpu", torch.bfloat16, False),
        ):
            assert varlen.takes(torch.empty(1, device=device, dtype=dtype)) == taken


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("groups", [2, 6])
def test_the_kernel_is_near_attention_row_by_row(groups: int) -> None:
    batch = of_texts([([7] * 40, [[5] * 90, [4] * 33]), ([3], [[2] * 20])], 200).to(CUDA)
    tokens, real = batch.input_ids.shape[1], batch.segments[0] >= 0
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, tokens, 64, device=CUDA) for heads in (6, groups, groups))
    known = packing.Packing(batch.segments[0], batch.lengths, batch.shared, batch.sequences)
    module = Heads()
    module.num_key_value_groups = 6 // groups
    exact, _ = rows.by_row(module, q, k, v, None, packing=known)
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    found, _ = rows.by_row(module, q, k, v, None, packing=known)
    torch.testing.assert_close(found[0, real].float(), exact[0, real], rtol=0.02, atol=0.02)
