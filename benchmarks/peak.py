"""What the device's matrix unit can do: the rate of one large plain product."""

import time

import torch

SIZE = 4096
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What makers say of their GPUs: operations a second in bf16, dense; what MFU is a share of. Of two
# names that fit, the first one is it.
NOMINAL = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


def nominal() -> float | None:
    """That of the GPU that is here; None where there is none, or an unknown one."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((rate for known, rate in NOMINAL.items() if known in name), None)


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
