"""Stages start without what they do not use."""

import subprocess
import sys

import pytest

UNUSED = {
    "fetch_data": ["torch", "transformers", "scipy", "pandas", "datasets"],
    "prepare": ["torch", "transformers", "scipy", "pandas"],
    "report": ["torch", "transformers", "pandas"],
    "train": ["pandas", "datasets", "scipy.optimize", "scipy.stats"],
}


@pytest.mark.parametrize("stage", UNUSED)
def test_stages_start_without_what_they_do_not_use(stage: str) -> None:
    """Each of these costs a tenth of a second to seconds in every stage that imports it."""
    code = f"import sys, stages.{stage}; print([m for m in {UNUSED[stage]} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
