"""One run of one system in a process of its own, so that its peak memory is its own too."""

import json
import os
import resource
import sys
from pathlib import Path

import torch

from benchmarks.workload import Workload


def main(system: str, work: str, directory: str, precision: str, options: str) -> None:
    """Run one system and print what it took, as JSON, on the last line."""
    if system == "this":
        from benchmarks import ours as chosen
    elif system == "trl":
        from benchmarks import peer as chosen  # type: ignore[no-redef]
    else:
        from benchmarks import original as chosen  # type: ignore[no-redef]
    workload = Workload.load(Path(directory))
    os.chdir(directory)
    found = chosen.measure(work, workload, precision, json.loads(options))
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**vars(found), "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
