"""Attention of packed rows in bf16 on a CPU, each pass a function of C++, if a compiler is at hand.

`written_out` does the same in some thirty small operations a row.
"""

import logging
import zlib
from collections.abc import Callable, Sequence
from ctypes import CDLL, POINTER, Structure, byref, c_float, c_int64, c_void_p
from functools import cache
from itertools import accumulate
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from preference.core.errors import one_line
from preference.model.attention import written_out
from preference.model.attention.packing import FILLED, Span, filling
from preference.runtime import devices

SOURCES = ("products.h", "fused.cpp")
WIDTHS = 16  # a head's width is a multiple of it
ROUNDING = 0.02  # weights and gradients of 8 bits, which came to 0.004


def takes(query: Tensor, value: Tensor) -> bool:
    """Whether `attention` can be had for what `written_out` takes, and is faster.

    Beside a matrix unit, which only torch's products have, it was not measured.
    """
    fit = query.shape[-1] % WIDTHS == value.shape[-1] % WIDTHS == 0
    return fit and not devices.has_matrix_unit() and library() is not None


def attention(
    query: Tensor, key: Tensor, value: Tensor, spans: Sequence[Span], scaling: float | None
) -> Tensor:
    """As `written_out.attention`, rounded elsewhere, in memory that grows with a row alone.

    A bias is taken to be minus infinity after each position, and not read there.
    """
    found = library()
    if found is None:
        raise RuntimeError("attention in C++ cannot be compiled here")
    return _attention(found, query, key, value, spans, scaling)


@cache
def library() -> CDLL | None:
    """The functions, compiled for this processor; None where that fails, which is said.

    What was compiled stays where torch keeps what it compiles.
    """
    try:
        found = compiled()
    except (RuntimeError, OSError, ImportError, SubprocessError) as error:
        logging.warning("attention in C++ cannot be compiled here: %s", one_line(error))
        return None
    # A layer's gradient checkpointing would run the layer again for what is kept here.
    with saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        apart = _apart(found)
    # A compiler that errs would not show in the log-probabilities of bf16.
    if not apart <= ROUNDING:
        logging.warning("attention in C++ is not taken: wrong by %.2g of its values", apart)
        return None
    logging.info("attention over packed rows is in C++, as torch's operations to %.0e", apart)
    return found


def compiled(*flags: str) -> CDLL:
    """The functions, with further flags for the compiler.

    Raises:
        RuntimeError, OSError, ImportError, SubprocessError: there is none, or it cannot do it.
    """
    from torch._inductor.codecache import CppCodeCache  # slow, and most runs do without

    source = "".join(Path(__file__).with_name(name).read_text() for name in SOURCES)
    # Products and sums in one; two halves are read as a word; where hosts share what is compiled,
    # another processor finds nothing.
    processor = zlib.crc32(repr(sorted(torch.cpu.get_capabilities().items())).encode())
    told = ("-ffp-contract=fast", "-fno-unsafe-math-optimizations", "-fno-strict-aliasing")
    flags = (*told, f"-DPROCESSOR={processor}", f"-DFILLED={FILLED}", *flags)
    found: CDLL = CppCodeCache.load(source, extra_flags=flags)
    found.room.argtypes, found.room.restype = [c_int64] * 3, c_int64
    found.attend.restype = found.differentiate.restype = None
    return found


def _attention(
    library: CDLL,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Sequence[Span],
    scaling: float | None,
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    _require_possible(query, key, value, spans)
    given = (_in_pairs(tensor.to(value.dtype)) for tensor in (query, key, value))
    found: Tensor = _FusedAttention.apply(library, *given, spans, scale)  # type: ignore[no-untyped-call]
    return found


def _require_possible(query: Tensor, key: Tensor, value: Tensor, spans: Sequence[Span]) -> None:
    """Raise a ValueError for what would be read from elsewhere in memory."""
    batch, heads, tokens, width = query.shape
    shared = key.shape[1]
    odd = width % WIDTHS or value.shape[3] % WIDTHS
    like = key.shape == (1, shared, tokens, width) and value.shape[:3] == key.shape[:3]
    if odd or batch != 1 or not like:
        shapes = [tuple(tensor.shape) for tensor in (query, key, value)]
        raise ValueError(f"queries, keys and values do not fit: {shapes}")
    if heads % shared:
        raise ValueError(f"{heads} heads cannot share the keys of {shared}")
    if value.dtype != torch.bfloat16 or any(x.device.type != "cpu" for x in (query, key, value)):
        raise ValueError(f"values in {value.dtype} on {value.device}, not in bf16 on a CPU")
    if sum(span.tokens for span in spans) != tokens:
        raise ValueError(f"the rows do not come to {tokens} tokens")
    for size, bias in spans:
        square = (size + filling(size),) * 2
        if bias is not None and not (
            bias.shape == square and bias.dtype == torch.float32 and bias.is_contiguous()
        ):
            raise ValueError(f"a bias of {tuple(bias.shape)}, {bias.dtype}, for {size} tokens")


def _in_pairs(tensor: Tensor) -> Tensor:
    """What can be read by two of a width at a time."""
    even = all(stride % 2 == 0 for stride in tensor.stride()[:3])
    fits = even and tensor.stride(3) == 1 and tensor.data_ptr() % 4 == 0
    return tensor if fits else tensor.clone(memory_format=torch.contiguous_format)


class _FusedAttention(torch.autograd.Function):
    """The formula of `attention` and its derivative, see fused.cpp."""

    @staticmethod
    def forward(
        ctx: Any,
        library: CDLL,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        spans: Sequence[Span],
        scale: float,
    ) -> Tensor:
        ctx.given = library, spans, scale
        _, heads, tokens, _ = query.shape
        # A token's heads end to end, as the layer goes on with them.
        out = value.new_empty(1, tokens, heads, value.shape[3])
        logs = torch.empty(heads, tokens, dtype=torch.float32, device="cpu")
        _call(library.attend, *ctx.given, logs, query, key, value, out.transpose(1, 2))
        ctx.save_for_backward(query, key, value, logs)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, logs = ctx.saved_tensors
        found = [torch.empty_like(tensor) for tensor in (query, key, value)]
        given = _in_pairs(gradient.transpose(1, 2))
        library = ctx.given[0]
        _call(library.differentiate, *ctx.given, logs, query, key, value, given, *found)
        return None, *found, None, None


class _Heads(Structure):
    _fields_ = [
        ("at", c_void_p),
        ("token", c_int64),
        ("head", c_int64),
        ("heads", c_int64),
        ("width", c_int64),
    ]


class _Rows(Structure):
    _fields_ = [
        ("rows", c_int64),
        ("starts", POINTER(c_int64)),
        ("biases", POINTER(c_void_p)),
        ("scale", c_float),
        ("logs", c_void_p),
        ("threads", c_int64),
        ("room", c_int64),
        ("scratch", c_void_p),
    ]


def _call(
    function: Callable[..., None],
    library: CDLL,
    spans: Sequence[Span],
    scale: float,
    logs: Tensor,
    *tensors: Tensor,
) -> None:
    """Call one of the two with rows and tensors, (1, heads, tokens, width)."""
    sizes, count = [span.tokens for span in spans], len(spans)
    starts = (c_int64 * (count + 1))(0, *accumulate(sizes))
    biases = (c_void_p * count)(
        *(None if span.bias is None else span.bias.data_ptr() for span in spans)
    )
    threads = torch.get_num_threads()
    room = library.room(max(sizes), tensors[0].shape[3], tensors[2].shape[3])
    scratch = torch.empty(threads, room, dtype=torch.uint8, device="cpu")
    each = threads, room, scratch.data_ptr()
    rows = _Rows(count, starts, biases, scale, logs.data_ptr(), *each)
    heads = (
        _Heads(x.data_ptr(), x.stride(2), x.stride(1), x.shape[1], x.shape[3]) for x in tensors
    )
    function(byref(rows), *map(byref, heads))


@torch.enable_grad()
def _apart(library: CDLL) -> float:
    """How far outputs and gradients are from those written out, as a share of their norm."""
    # What training draws stays as it is.
    drawn = torch.Generator().manual_seed(0)
    bias = torch.full((32, 32), -torch.inf).triu_(1)
    bias[20:, 10:20] = -torch.inf
    spans = [Span(67, None), Span(30, bias)]
    shapes = [(1, 4, 97, 32), (1, 2, 97, 32), (1, 2, 97, 16), (1, 97, 4, 16)]
    *given, direction = (torch.randn(shape, generator=drawn).bfloat16() for shape in shapes)
    query, key, value = (tensor.requires_grad_() for tensor in given)
    both = [
        _attention(library, query, key, value, spans, None),
        written_out.attention(query, key, value, spans, None),
    ]
    ours, theirs = ((x.detach(), *torch.autograd.grad(x, given, direction)) for x in both)
    pairs = [(x.float(), y.float()) for x, y in zip(ours, theirs, strict=True)]
    # NaN if one is.
    return float(torch.stack([(x - y).norm() / y.norm() for x, y in pairs]).max())
