"""Run a stage with sharded weights on CPUs, for which the launcher's library has no switch.

Use: torchrun --nproc_per_node 2 tests/sharded.py stages.train
"""

import runpy
import sys

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from preference.core.params import Params
from preference.runtime import devices

unsharded = devices.accelerator


def sharded(params: Params) -> Accelerator:
    """What a launch with recipes/accelerate/fsdp.yaml makes on GPUs, on this machine's CPUs."""
    made = unsharded(params)
    # Every state that the library makes anew takes its kind from the partial one.
    PartialState().distributed_type = made.state.distributed_type = DistributedType.FSDP
    made.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True
    )
    return made


if __name__ == "__main__":
    devices.accelerator = sharded
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
