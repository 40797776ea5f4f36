"""Device and precision, from what params ask for to what this machine has."""

import pytest
import torch
from accelerate.state import AcceleratorState
from settings import Precision, params

from preference.core.errors import InputError
from preference.core.params import Runtime
from preference.runtime import devices

HAS_GPU = torch.cuda.is_available() or torch.backends.mps.is_available()


def computed_on(context: dict[str, str]) -> tuple[str, str]:
    assert context.keys() == {"device", "precision", "torch", "transformers"}
    assert torch.__version__.startswith(context["torch"])
    return context["device"], context["precision"]


@pytest.mark.parametrize(("precision", "warned"), [("fp32", True), ("bf16", False)])
def test_float32_on_a_gpu_is_no_tf32_and_warned_of(
    precision: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        devices._set_up_cuda(precision)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.enable_cudnn_sdp(True)
    assert ("precision: auto" in caplog.text) == warned


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_cpu_takes_what_is_asked_for(precision: Precision) -> None:
    accelerator = devices.accelerator(params(precision, "cpu"))
    assert computed_on(devices.context(accelerator)) == ("cpu", precision)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_products_are_computed_in_that_precision(precision: Precision, dtype: str) -> None:
    accelerator = devices.accelerator(params(precision, "cpu"))
    with accelerator.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert str(product.dtype) == f"torch.{dtype}"


def test_auto_on_the_cpu_is_bf16_only_where_it_is_fast() -> None:
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    context = devices.context(devices.accelerator(params("auto", "cpu")))
    assert computed_on(context) == ("cpu", "bf16" if fast else "fp32")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_auto_without_a_gpu_is_the_cpu() -> None:
    context = devices.context(devices.accelerator(params("fp32", "auto")))
    assert computed_on(context) == ("cpu", "fp32")


def test_fp16_on_the_cpu_is_refused() -> None:
    with pytest.raises(InputError, match=r"precision: fp16 needs a GPU.*use fp32, bf16 or auto"):
        devices.accelerator(params("fp16", "cpu"))


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_fp16_where_auto_finds_no_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="precision: fp16 needs a GPU"):
        devices.accelerator(params("fp16", "auto"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_cuda_where_there_is_none_is_refused(precision: Precision) -> None:
    with pytest.raises(InputError, match=r"runtime\.device: cuda is not available.*auto or cpu"):
        devices.accelerator(params(precision, "cuda"))


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is MPS")
def test_mps_where_there_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"runtime\.device: mps is not available"):
        devices.accelerator(params("fp32", "mps"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_takes_what_is_asked_for(precision: Precision) -> None:
    context = devices.context(devices.accelerator(params(precision, "auto")))
    assert computed_on(context) == ("cuda", precision)


def test_on_cuda_masked_rows_do_not_go_to_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        devices._set_up_cuda("bf16")
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_launch_that_compiles_a_whole_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(True)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    try:
        with pytest.raises(InputError, match=r"LAUNCH asks to compile.*set runtime\.compile: true"):
            devices.accelerator(params("fp32", "cpu"))
    finally:
        AcceleratorState._reset_state(True)


def test_workers_are_torchs_threads() -> None:
    before = torch.get_num_threads()
    try:
        devices.accelerator(params("fp32", "cpu", workers=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_micro_batches_are_sized_by_device_unless_params_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accelerator = devices.accelerator(params("fp32", "cpu"))
    for capabilities, expected in (({}, 1344), ({"amx_tile": True}, 2048)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert devices.tokens_per_batch(Runtime(), accelerator, compiled=False) == expected
        assert devices.tokens_per_batch(Runtime(), accelerator, compiled=True) == 4096
    assert devices.tokens_per_batch(Runtime(tokens_per_batch=77), accelerator, compiled=True) == 77
