"""Attention written out, in bf16 on a CPU, against the kernel in float64 row by row."""

from typing import Any

import pytest
import torch
from attention_cases import WIDTH, errors, tensors, two_responses

from preference.model.attention import written_out
from preference.model.attention.packing import Span


@pytest.mark.parametrize("long", [16, 6, 4], ids=["kept", "one of them long", "all long"])
@pytest.mark.parametrize(
    ("heads", "shared", "width"), [(2, 2, WIDTH), (6, 2, WIDTH), (3, 1, WIDTH), (4, 2, 8)]
)
def test_rows_are_those_of_the_kernel(
    long: int, heads: int, shared: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_out, "LONG", long)
    spans = [Span(5, None), Span(16, two_responses(16)), Span(6, two_responses(6)), Span(5, None)]
    assert errors(written_out.attention, tensors(32, heads, shared, width), spans) < 0.01


def test_the_usual_scale_is_that_of_the_width() -> None:
    q, k, v = tensors(6, 2, 2)
    spans = [Span(6, None)]
    usual = written_out.attention(q, k, v, spans, None)
    assert torch.equal(usual, written_out.attention(q, k, v, spans, WIDTH**-0.5))


def test_it_takes_values_of_bf16_on_a_cpu_whatever_the_queries_have() -> None:
    q, k, v = tensors(6, 2, 2)
    assert written_out.takes(v)
    assert not written_out.takes(v.float())
    assert not written_out.takes(v.to("meta"))
    # Rotary queries and keys are in float32 under autocast.
    found = written_out.attention(q.float(), k.float(), v, [Span(6, None)], None)
    assert torch.equal(found, written_out.attention(q, k, v, [Span(6, None)], None))


def test_heads_that_cannot_share_their_keys_are_not_mixed() -> None:
    q, k, v = tensors(6, 5, 2)
    with pytest.raises(RuntimeError, match="invalid for input"):
        written_out.attention(q, k, v, [Span(6, None)], None)


@pytest.mark.parametrize("long", [20, 6])
def test_weights_of_a_long_row_do_not_wait_for_the_backward_pass(
    long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_out, "LONG", long)
    q, k, v = tensors(26, 2, 2)
    out = written_out.attention(q, k, v, [Span(6, None), Span(20, None)], 1.0)
    node: Any = out.grad_fn
    saved = [tensor.shape[-1] for tensor in node.saved_tensors if tensor is not None]
    # Of the heads of a long row each has three tensors of its own.
    assert saved.count(32) == (long == 20)
    assert saved.count(16) == 7 + 3 * (long == 6)


def test_products_of_what_was_bf16_are_exact_and_the_setting_is_put_back() -> None:
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    q, k, _ = (tensor[0].float() for tensor in tensors(64, 4, 4))
    plain = torch.bmm(q, k.mT)
    with written_out._plain_products():
        assert products.fp32_precision == "bf16"
        torch.testing.assert_close(torch.bmm(q, k.mT), plain, rtol=1e-6, atol=1e-5)
    with pytest.raises(RuntimeError, match="size"), written_out._plain_products():
        torch.bmm(q, k)
    assert products.fp32_precision == before
