"""Device and precision, from what params ask for to what this machine has."""

import logging
import os
from datetime import timedelta
from importlib.metadata import version

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DynamoBackend,
    InitProcessGroupKwargs,
    KwargsHandler,
    ProjectConfiguration,
)

from preference.core.errors import InputError
from preference.core.params import Params, Runtime
from preference.runtime import heap, processes

# For how long processes wait for one that reads or writes a large model.
PATIENCE = timedelta(hours=1)


def accelerator(params: Params) -> Accelerator:
    """The `accelerate` object through which a stage places, casts and distributes.

    Raises:
        InputError: the device, the precision or a tracker asked for is not to be had here, or
            LAUNCH asks for what is done in another way.
    """
    heap.keep_freed()
    device = _device(params.runtime)
    precision = _precision(params.precision, device)
    if params.runtime.deterministic:
        # Read when the library's first product is computed, so not too late here.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if params.runtime.workers is not None:
        torch.set_num_threads(params.runtime.workers)
    if device == "cuda":
        _set_up_cuda(precision)
    made = Accelerator(
        cpu=device == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=handlers(),
        log_with=trackers(params.runtime) or None,
        # accelerate asks for a place; training names the run's own.
        project_config=ProjectConfiguration(logging_dir="."),
    )
    _require_known_launch(made)
    return made


def _require_known_launch(made: Accelerator) -> None:
    if processes.sharded(made) and not made.is_fsdp2:
        raise InputError(
            "LAUNCH asks for FSDP of version 1; set fsdp_version: 2, as "
            "recipes/accelerate/fsdp.yaml does"
        )
    if made.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise InputError(
            "LAUNCH asks to compile the whole model (dynamo_config, ACCELERATE_DYNAMO_BACKEND); "
            "leave that out and set runtime.compile: true in params.yaml, which compiles layers "
            "and tries whether their numbers are the model's"
        )


def _set_up_cuda(precision: str) -> None:
    # Float32 is float32, and not TF32, which has 10 bits of its 23: whoever wants speed says auto.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if precision == "fp32":
        logging.warning(
            "precision: fp32 on a GPU: products in full float32, without TF32, are several times "
            "slower than half precision; set precision: auto in params.yaml unless you need it"
        )
    # For rows with a mask torch takes cuDNN's attention first on a Hopper GPU, which builds a plan,
    # some 20 to 40 ms, for every new shape; and padded steps have new shapes most of the time.
    torch.backends.cuda.enable_cudnn_sdp(False)


def handlers() -> list[KwargsHandler]:
    """How several processes go about it."""
    return [
        # Models have no buffers that change, and a pass that exchanges none may fail alone.
        DistributedDataParallelKwargs(broadcast_buffers=False),
        InitProcessGroupKwargs(timeout=PATIENCE),
    ]


def trackers(runtime: Runtime) -> list[str]:
    """Those that params name.

    Raises:
        InputError: the package of one is not installed.
    """
    known = {kind.value for kind in get_available_trackers()}
    if missing := [name for name in runtime.trackers if name not in known]:
        raise InputError(
            f"params.yaml: runtime.trackers: {', '.join(missing)} not installed; "
            f"pip install {' '.join(missing)}, or leave it out"
        )
    return list(runtime.trackers)


def tokens_per_batch(runtime: Runtime, accelerator: Accelerator, *, compiled: bool) -> int:
    """Positions in a micro-batch: what params say, else what fills the device's units.

    On a CPU the products are as fast at 1344 rows as at any number, with a matrix unit at 2048:
    three times as many save a twentieth to a tenth, for three times the memory of activations. Of
    those compiled layers keep three fifths, and less is left beside the products, so that it is
    worth it. A GPU wants more; with CUDA it is measured for how many it has memory (see `room`).
    """
    if runtime.tokens_per_batch is not None:
        return runtime.tokens_per_batch
    if accelerator.device.type != "cpu":
        return 16384
    if compiled:
        return 4096
    return 2048 if has_matrix_unit() else 1344


def has_matrix_unit() -> bool:
    """Whether the CPU has one for products in bf16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_tile"))


def context(accelerator: Accelerator) -> dict[str, str]:
    """What a metric was computed with: device type, resolved precision, versions of libraries."""
    precision = accelerator.mixed_precision
    return {
        "device": accelerator.device.type,
        "precision": "fp32" if precision == "no" else precision,
        "torch": torch.__version__.partition("+")[0],
        "transformers": version("transformers"),
    }


def _device(runtime: Runtime) -> str:
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if runtime.device == "auto":
        return next(name for name, here in available.items() if here)
    if not available[runtime.device]:
        raise InputError(
            f"params.yaml: runtime.device: {runtime.device} is not available to torch "
            f"{torch.__version__} on this machine; use auto or cpu"
        )
    return runtime.device


def _precision(wanted: str, device: str) -> str:
    if wanted == "auto":
        if device == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return "bf16" if native else "fp16"
        fast = device == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        return "bf16" if fast else "fp32"
    if wanted == "fp16" and device == "cpu":
        raise InputError(
            "params.yaml: precision: fp16 needs a GPU; on this machine use fp32, bf16 or auto"
        )
    return wanted
