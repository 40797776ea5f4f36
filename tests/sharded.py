"""Run a stage with sharded weights on CPUs.

Use: torchrun --nproc_per_node 2 tests/sharded.py stages.train
"""

import runpy
import sys

from accelerate import Accelerator
from gloo import shard

from preference.core.params import Params
from preference.runtime import devices

unsharded = devices.accelerator


def sharded(params: Params) -> Accelerator:
    made = unsharded(params)
    shard(made)
    return made


if __name__ == "__main__":
    devices.accelerator = sharded
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
