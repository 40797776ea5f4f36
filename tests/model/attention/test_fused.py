"""Attention in C++, against the kernel in float64 row by row."""

import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import torch
from attention_cases import causal, errors, tensors, two_responses
from hypothesis import strategies as st
from torch import Tensor
from torch._inductor import config as inductor

from preference.model.attention import fused
from preference.model.attention.packing import Span
from preference.runtime import devices

# As this processor has it, and as one has it that multiplies no bf16.
FLAGS: dict[str, tuple[str, ...]] = {
    "native": (),
    "no bf16": ("-U__AVX512BF16__",),
    "short vectors": ("-DSHORT",),
}
SHORT = {"cpp.march": "x86-64-v3", "cpp.simdlen": 256}
# At the edges of blocks, of filling, and of what registers hold.
SIZES = [1, 2, 5, 15, 16, 17, 47, 48, 49, 97, 130]


@pytest.fixture(params=FLAGS)
def attention(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    short = request.param == "short vectors"
    if short and platform.machine() != "x86_64":
        pytest.skip("its vectors are as they are")
    with inductor.patch(SHORT if short else {}):
        return partial(fused._attention, fused.compiled(*FLAGS[request.param]))


@pytest.fixture
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(devices, "has_matrix_unit", lambda: False)
    fused.library.cache_clear()
    yield
    fused.library.cache_clear()


def of(size: int) -> Span:
    """A row, every other one with a bias."""
    return Span(size, two_responses(size) if size % 2 and size > 3 else None)


def direction(out: Tensor) -> Tensor:
    return torch.linspace(-1, 2, out.numel()).view(out.shape).bfloat16()


def passes(
    attention: Callable[..., Tensor],
    given: Sequence[Tensor],
    spans: list[Span],
    along: Tensor | None = None,
) -> list[Tensor]:
    """The output and the gradients."""
    out = attention(*given, spans, None)
    along = direction(out) if along is None else along
    return [out.detach(), *torch.autograd.grad(out, given, along)]


@pytest.mark.parametrize(
    ("heads", "shared", "width", "query_width"),
    [(2, 2, 16, 16), (6, 2, 16, 32), (3, 1, 48, 16), (4, 2, 64, 64), (2, 1, 80, 96)],
)
def test_rows_are_those_of_the_kernel(
    heads: int, shared: int, width: int, query_width: int, attention: Callable[..., Tensor]
) -> None:
    spans = [of(size) for size in SIZES]
    drawn = tensors(sum(SIZES), heads, shared, width, query_width)
    assert errors(attention, drawn, spans) < 0.005


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5), group=st.integers(1, 3)
)
def test_a_row_does_not_depend_on_others(sizes: list[int], group: int) -> None:
    drawn = tensors(sum(sizes), 2 * group, 2, 32)
    together = passes(fused.attention, drawn, [of(size) for size in sizes])
    start = 0
    for size in sizes:
        row = [tensor.detach()[:, :, start : start + size].requires_grad_() for tensor in drawn]
        whole = direction(together[0])[:, start : start + size]
        alone = passes(fused.attention, row, [of(size)], whole)
        assert torch.equal(together[0][:, start : start + size], alone[0])
        for one, other in zip(together[1:], alone[1:], strict=True):
            assert torch.equal(one[:, :, start : start + size], other)
        start += size


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    spans, found = [of(size) for size in SIZES], []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(passes(fused.attention, tensors(sum(SIZES), 6, 3), spans))
    for each in zip(*found, strict=True):
        assert all(torch.equal(each[0], other) for other in each[1:])


def together(drawn: Sequence[Tensor]) -> list[Tensor]:
    """As GPT-2 has them: (1, tokens, 3 heads x width), cut."""
    joint = torch.cat([tensor.detach().transpose(1, 2).flatten(2) for tensor in drawn], 2)
    return [part.unflatten(2, (2, -1)).transpose(1, 2) for part in joint.chunk(3, 2)]


def shifted(tensor: Tensor, by: int, width: int) -> Tensor:
    """A part of a larger one, which begins there; rows are so far apart."""
    larger = torch.zeros(*tensor.shape[:3], width, dtype=tensor.dtype)
    return larger[..., by : by + tensor.shape[3]].copy_(tensor.detach())


WAYS: dict[str, Callable[[Sequence[Tensor]], list[Tensor]]] = {
    "joint": together,
    "odd rows": lambda drawn: [shifted(tensor, 2, 35) for tensor in drawn],
    "odd start": lambda drawn: [shifted(tensor, 1, 36) for tensor in drawn],
    "turned": lambda drawn: [tensor.detach().mT.contiguous().mT for tensor in drawn],
    "float32 queries": lambda drawn: [*(x.detach().float() for x in drawn[:2]), drawn[2].detach()],
}


@pytest.mark.parametrize("way", WAYS)
def test_tensors_may_lie_in_any_way(way: str) -> None:
    drawn, spans = tensors(20, 2, 2), [Span(20, None)]
    expected = passes(fused.attention, drawn, spans)
    found = passes(fused.attention, [x.requires_grad_() for x in WAYS[way](drawn)], spans)
    assert all(map(torch.equal, found, expected))


def test_heads_and_gradients_may_be_one_for_all() -> None:
    drawn, spans = tensors(20, 2, 1), [Span(20, None)]
    one_key = [drawn[0], *(x.detach().expand(1, 2, 20, 16).requires_grad_() for x in drawn[1:])]
    out = fused.attention(drawn[0], one_key[1], one_key[2], spans, None)
    assert torch.equal(out, fused.attention(*drawn, spans, None))
    ones = torch.autograd.grad(out, one_key, torch.ones_like(out), retain_graph=True)
    assert all(map(torch.equal, torch.autograd.grad(out.sum(), one_key), ones))


def test_what_is_not_a_number_stays_none_where_it_is_seen(
    attention: Callable[..., Tensor],
) -> None:
    query, key, value = tensors(70, 2, 1)
    with torch.no_grad():
        query[0, 1, 3, 5] = torch.nan
    out, *gradients = passes(attention, [query, key, value], [of(30), of(40)])
    expected = torch.zeros(70, 2, dtype=torch.bool)
    expected[3, 1] = True
    assert torch.equal(out[0].isnan().any(-1), expected)
    assert not gradients[1][0, :, 30:].isnan().any()
    assert gradients[1][0, :, :4].isnan().any(-1).all()


def test_scores_that_no_exponential_could_hold_are_softmaxed(
    attention: Callable[..., Tensor],
) -> None:
    query, key, value = tensors(50, 2, 2)
    with torch.no_grad():
        query *= 300
    assert errors(attention, [query, key, value], [of(50)]) < 0.02


def test_a_bias_may_be_any_number(attention: Callable[..., Tensor]) -> None:
    distances = torch.arange(32.0)
    bias = causal(32) - (distances[:, None] - distances).abs() / 4
    assert errors(attention, tensors(30, 2, 2), [Span(30, bias)]) < 0.005


def test_outputs_between_two_numbers_go_to_the_even_one(attention: Callable[..., Tensor]) -> None:
    query, key, value = tensors(2, 1, 1)
    step = 2**-7  # of bf16 from 1 on
    with torch.no_grad():
        query.zero_()
        value[0, 0] = 1 + step * (torch.arange(16) + torch.tensor([[0], [1]]))
    out = attention(query, key, value, [of(2)], None)
    assert torch.equal(out[0, 1, 0], value[0, 0].float().mean(0).bfloat16())


WATCHED = """
import sys
from functools import partial
import pytest
from preference.model.attention import fused
fused.compiled = partial(fused.compiled, "-fsanitize=address")
sys.exit(pytest.main(["-k", "kernel or others or threads", *sys.argv[1:]]))
"""


@pytest.mark.long
def test_it_touches_no_memory_but_its_own(tmp_path: Path) -> None:
    """These tests again, with the compiler's watch over each read and write."""
    asked = [os.environ.get("CXX", "g++"), "-print-file-name=libasan.so"]
    watch = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(watch).is_absolute():
        pytest.skip("the compiler has no address sanitizer")
    told = {
        "LD_PRELOAD": watch,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own are many
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", WATCHED, "-p", "no:cacheprovider", __file__]
    ran = subprocess.run(
        command, env=os.environ | told, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "17 passed" in ran.stdout


def test_no_weights_are_kept() -> None:
    out = fused.attention(*tensors(300, 4, 2), [of(300)], None)
    node: Any = out.grad_fn
    shapes = [tuple(tensor.shape) for tensor in node.saved_tensors]
    assert shapes == [(1, 4, 300, 16), (1, 2, 300, 16), (1, 2, 300, 16), (4, 300)]


def test_rows_that_are_not_those_of_the_tensors_are_refused() -> None:
    drawn = tensors(20, 2, 2)
    with pytest.raises(ValueError, match="do not come to 20 tokens"):
        fused.attention(*drawn, [of(12)], None)
    with pytest.raises(ValueError, match=r"a bias of \(20, 20\), .* for 20 tokens"):
        fused.attention(*drawn, [Span(20, torch.zeros(20, 20))], None)
    with pytest.raises(ValueError, match="float64, for 20 tokens"):
        fused.attention(*drawn, [Span(20, torch.zeros(32, 32).double())], None)
    with pytest.raises(ValueError, match=r"do not fit: .*\(1, 2, 19, 16\)"):
        fused.attention(*drawn[:2], drawn[2][:, :, 1:], [of(20)], None)
    with pytest.raises(ValueError, match=r"do not fit: .*\(1, 2, 20, 24\)"):
        fused.attention(*tensors(20, 2, 2, 24), [of(20)], None)
    with pytest.raises(ValueError, match=r"do not fit: \[\(2, 2, 20, 16\)"):
        fused.attention(torch.cat([drawn[0]] * 2), *drawn[1:], [of(20)], None)
    with pytest.raises(ValueError, match="not in bf16 on a CPU"):
        fused.attention(drawn[0].to("meta"), *drawn[1:], [of(20)], None)
    with pytest.raises(ValueError, match="float32 on cpu"):
        fused.attention(*drawn[:2], drawn[2].float(), [of(20)], None)
    with pytest.raises(ValueError, match="5 heads cannot share the keys of 2"):
        fused.attention(*tensors(20, 5, 2), [of(20)], None)


@pytest.mark.usefixtures("_anew")
def test_it_takes_heads_as_wide_as_a_vector_goes_into(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 32)
    assert fused.takes(wide, wide)
    assert not fused.takes(narrow, wide)
    assert not fused.takes(wide, narrow)
    monkeypatch.setattr(devices, "has_matrix_unit", lambda: True)
    assert not fused.takes(wide, wide)


@pytest.mark.usefixtures("_anew")
def test_without_a_compiler_it_takes_nothing_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    q, _, v = tensors(6, 2, 2)
    with caplog.at_level(logging.WARNING), inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert not fused.takes(q, v)
        assert not fused.takes(q, v)
    (said,) = caplog.messages
    assert "attention in C++ cannot be compiled here: InvalidCxxCompiler: No work" in said


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("pass_", ["attend", "differentiate"])
@pytest.mark.parametrize("by", [1.1, torch.nan])
def test_what_a_compiler_got_wrong_is_not_taken(
    pass_: str, by: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = fused.compiled()

    def wrong(rows: Any, *heads: Any) -> None:
        rows._obj.scale *= by
        made[pass_](rows, *heads)

    passes = {"attend": made.attend, "differentiate": made.differentiate, pass_: wrong}
    monkeypatch.setattr(fused, "compiled", lambda: SimpleNamespace(room=made.room, **passes))
    q, _, v = tensors(6, 2, 2)
    with caplog.at_level(logging.WARNING):
        assert not fused.takes(q, v)
    assert re.search("attention in C\\+\\+ is not taken: wrong by (0\.|nan)", caplog.text)


@pytest.mark.usefixtures("_anew")
def test_it_is_said_and_trying_it_draws_nothing_from_what_training_draws(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = torch.get_rng_state()
    with torch.no_grad(), caplog.at_level(logging.INFO):
        assert fused.library() is not None
    assert re.search(r"in C\+\+, as torch's operations to [1-5]e-03", caplog.text)
    assert torch.equal(torch.get_rng_state(), state)
