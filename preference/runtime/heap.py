"""Memory that a process frees and takes again stays with it."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
PAD = 64 * 2**20
# What glibc reads of its environment when a process starts, and cannot be told later. Tensors are
# aligned: glibc takes a little more than asked for and gives the rest back, as pieces of a hundred
# bytes. Where these are kept for small requests, in place of joining what is freed beside them, no
# block fits the hole of one of its size.
TUNABLES = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"


def restart_with_tunables() -> None:
    """Start the stage that this process is anew with `TUNABLES`, if it has none yet.

    To be called before anything large is imported. Whoever only imports the stage's module goes on.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_stage = getattr(spec, "parent", None) == "stages"
    if is_stage and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "GLIBC_TUNABLES": TUNABLES})


def keep_freed() -> None:
    """Let the C library's allocator keep what is freed, for the next tensor of that size.

    By default every large tensor is mapped anew, and each of its pages costs a fault and is
    cleared when first touched. For a model of 124M parameters on a virtual machine that took more
    time than the arithmetic. One heap serves all threads, so that what one has freed another can
    take. Only glibc has these settings; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, PAD)):
            mallopt(option, value)
