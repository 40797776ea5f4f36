"""What the device's matrix unit can do: the rate of one large plain product."""

import time

import torch

SIZE = 4096
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matrix_peak(device: str, precision: str) -> float:
    """Operations a second of the fastest of several products of 4096 x 4096 matrices."""
    a, b = (torch.randn(SIZE, SIZE, device=device).to(TYPES[precision]) for _ in range(2))
    fastest = float("inf")
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        a @ b
        _wait(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * SIZE**3 / fastest


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
