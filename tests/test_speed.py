"""What makes it fast changes nothing: fused activations, imports without extras, memory kept."""

import os
import subprocess
import sys
from pathlib import Path

import naive
import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from preference.model import loading
from preference.runtime import heap


def printed(code: str, **variables: str) -> str:
    """What a Python process of its own prints, with variables added to its environment."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast", "gelu_accurate"])
def test_fused_gelu_is_the_same_function(name: str) -> None:
    spelled = ACT2FN[name]
    assert isinstance(spelled, loading.TANH_GELUS)
    x = torch.linspace(-8, 8, 10_001, dtype=torch.float64, requires_grad=True)
    fused = nn.GELU(approximate="tanh")
    torch.testing.assert_close(fused(x), spelled(x), rtol=1e-9, atol=1e-9)
    ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (fused, spelled))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_loaded_model_has_the_fused_form(tmp_path: Path) -> None:
    naive.gpt2().save_pretrained(tmp_path)
    kinds = {type(m) for m in loading.load(tmp_path).modules()}
    assert nn.GELU in kinds
    assert not kinds & set(loading.TANH_GELUS)


def test_without_hides_a_package_only_inside() -> None:
    code = (
        "import sys\n"
        "from preference.core.imports import without\n"
        "with without('wave', 'chunk'):\n"
        "    try:\n"
        "        import wave\n"
        "    except ImportError:\n"
        "        print('hidden')\n"
        "import wave; print('back')\n"
        "with without('wave', 'chunk'):\n"
        "    import wave; print('kept')\n"
        "import json; del sys.modules['wave']\n"
        "with without('wave', 'json'):\n"
        "    import wave; print('let be')\n"
    )
    assert printed(code).split() == ["hidden", "back", "kept", "let", "be"]


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator setting of glibc")
def test_freed_memory_stays_with_the_process() -> None:
    """A large block, freed and taken again, is at the same address and needs no new pages."""
    code = (
        "import resource, torch\n"
        "from preference import memory\n"
        "memory.keep_freed()\n"
        # Alignment leaves small pieces between the first blocks, so that a few are made anew.
        "for _ in range(12):\n"
        "    x = torch.ones(2**25); del x\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5):\n"
        "    x = torch.ones(2**25); del x\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    # 128 MiB five times would be 160,000 pages.
    assert int(printed(code)) < 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator setting of glibc")
def test_a_block_fits_the_hole_that_one_of_its_size_left() -> None:
    """Small objects that stay, made while there was a hole, would stand in its way."""
    code = (
        "import torch\n"
        "from preference import memory\n"
        "memory.keep_freed()\n"
        "stay, places = [], set()\n"
        "below, block, above = (torch.empty(2**20) for _ in range(3))\n"
        "for _ in range(50):\n"
        "    block = None\n"
        # Of the sizes that alignment leaves over.
        "    stay += [torch.empty(size) for size in range(1, 8)]\n"
        "    block = torch.empty(2**20)\n"
        "    places.add(block.data_ptr())\n"
        "print(len(places))\n"
    )
    # 49 where the caches for small requests are on (glibc 2.36).
    assert int(printed(code, GLIBC_TUNABLES=heap.TUNABLES)) < 5


def test_stages_start_without_what_they_do_not_use() -> None:
    """Each of these costs a tenth of a second to seconds in every stage that imports it."""
    for stage, unused in {
        "fetch_data": ["torch", "transformers", "scipy", "pandas", "datasets"],
        "prepare": ["torch", "transformers", "scipy", "pandas"],
        "report": ["torch", "transformers", "pandas"],
        "train": ["pandas", "datasets", "scipy.optimize", "scipy.stats"],
    }.items():
        code = f"import sys, stages.{stage}; print([m for m in {unused} if m in sys.modules])"
        assert printed(code).strip() == "[]", stage
