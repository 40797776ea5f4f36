"""The small pipeline that several tests look at, and one thread a test process."""

import shutil
from pathlib import Path

import project
import pytest
import torch

# On tiny tensors more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller default, run by DVC from an empty copy of the project; not to be changed."""
    small = project.copy(tmp_path_factory.mktemp("finished"))
    project.set_params(small, project.SMALL)
    assert project.repro(small) == project.STAGE_NAMES
    return small


@pytest.fixture
def another(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, with data, models, results and cache."""
    return shutil.copytree(finished, tmp_path / "another", symlinks=True)
