"""Attention row by row; how it scores whole models is in test_scorer."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preference.model.attention import rows, written_out
from preference.model.attention.packing import Packing
from preference.runtime import devices


class Heads(nn.Module):
    is_causal = True


def tensors(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, tokens, 4, requires_grad=True) for _ in range(3))
    return q, k, v


def one_row(tokens: int, *, shared: bool = False) -> Packing:
    """One response; shared, its row has a bias that says no more than that it is causal."""
    return Packing(torch.ones(tokens, dtype=torch.long), (tokens,), shared)


def test_rows_do_not_see_each_other() -> None:
    q, k, v = tensors(7)
    packing = Packing(torch.ones(7, dtype=torch.long), (3, 4), shared=False)
    found, _ = rows.by_row(Heads(), q, k, v, None, packing=packing)
    for part in (slice(0, 3), slice(3, 7)):
        alone = F.scaled_dot_product_attention(
            q[:, :, part], k[:, :, part], v[:, :, part], is_causal=True
        )
        torch.testing.assert_close(found[:, part], alone.transpose(1, 2))


@pytest.mark.parametrize("long", [8, 4])
def test_attention_in_bf16_rounds_no_scores(long: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast, as models run; at scores of dozens, which bf16 would round to halves."""
    monkeypatch.setattr(written_out, "LONG", long)
    q, k, v = tensors(8)
    given = [tensor.detach().bfloat16().requires_grad_() for tensor in (16 * q, k, v)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    bias = torch.full((8, 8), -torch.inf).triu_(1)
    kernel = F.scaled_dot_product_attention(exact[0], exact[1], exact[2], attn_mask=bias.double())
    theirs = kernel.transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = rows.by_row(
            Heads(), given[0], given[1], given[2], None, packing=one_row(8, shared=True)
        )
    direction = torch.randn(1, 8, 2, 4)
    pairs = zip(
        (ours, *torch.autograd.grad(ours, given, direction.bfloat16())),
        (theirs, *torch.autograd.grad(theirs, exact, direction.double())),
        strict=True,
    )
    # bf16 keeps 8 bits: each tensor's error is a small share of its size.
    for one, other in pairs:
        assert (one.double() - other).norm() < 0.01 * other.norm()


def test_bf16_on_a_cpu_is_written_out_and_differentiated_once() -> None:
    q, k, v = (tensor.detach().bfloat16().requires_grad_() for tensor in tensors(4))
    found, _ = rows.by_row(Heads(), q, k, v, None, packing=one_row(4))
    assert found.grad_fn is not None
    assert found.grad_fn.name() == "_AttentionBackward"
    (gradient,) = torch.autograd.grad(found.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


@pytest.mark.parametrize(("width", "way"), [(32, "Fused"), (24, "")])
def test_compiled_it_is_by_functions_of_cpp_where_they_take_such_heads(
    width: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_matrix_unit", lambda: False)
    torch.manual_seed(0)
    drawn = [torch.randn(1, 2, 5, width).bfloat16().requires_grad_() for _ in range(3)]
    q, k, v = drawn
    found, _ = rows.by_row(Heads(), q, k, v, None, packing=one_row(5), compiled=True)
    assert found.grad_fn is not None
    assert found.grad_fn.name() == f"_{way}AttentionBackward"
    dropped, _ = rows.by_row(Heads(), q, k, v, None, packing=one_row(5), compiled=True, dropout=0.5)
    assert not torch.equal(dropped, found)


@pytest.mark.parametrize("asked", [{"sliding_window": 4}, {"softcap": 30.0}])
def test_attention_of_another_kind_is_refused(asked: dict[str, Any]) -> None:
    q, k, v = tensors(3)
    with pytest.raises(NotImplementedError, match=next(iter(asked))):
        rows.by_row(Heads(), q, k, v, None, packing=one_row(3), **asked)
