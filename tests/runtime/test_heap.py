"""Memory that is freed stays with the process, and is found again."""

import os
import subprocess
import sys

import project
import pytest

from preference.runtime import heap


def printed(code: str, **variables: str) -> str:
    """What a Python process of its own prints, with variables added to its environment."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator setting of glibc")
def test_freed_memory_stays_with_the_process() -> None:
    """A large block, freed and taken again, is at the same address and needs no new pages."""
    code = (
        "import resource, torch\n"
        "from preference.runtime import heap\n"
        "heap.keep_freed()\n"
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
        "from preference.runtime import heap\n"
        "heap.keep_freed()\n"
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


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator setting of glibc")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, heap.TUNABLES),
        pytest.param({"GLIBC_TUNABLES": "x"}, "x", marks=pytest.mark.long),
    ],
)
def test_a_stage_that_trains_starts_anew_with_its_tunables(
    given: dict[str, str], found: str
) -> None:
    """Once, in the same process, with the arguments that it was given; in no other program."""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | given
    code = (
        "import os, runpy, sys\n"
        "import preference.runtime.heap as heap\n"
        "heap.os.execve = lambda *call: print(call[1], call[2]['GLIBC_TUNABLES']) or sys.exit()\n"
        "sys.argv[1:] = ['--help']\n"
        "runpy.run_module('stages.train', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (heap.TUNABLES in done.stdout) == (not given), done.stdout
    shown = "import os, stages.train; print(os.environ.get('GLIBC_TUNABLES'))"
    assert printed(shown, **given).strip() == given.get("GLIBC_TUNABLES", "None")
    assert found
