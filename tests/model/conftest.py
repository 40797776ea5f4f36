"""Model directories that several tests look at."""

import shutil
from pathlib import Path

import pytest
from model_cases import gpt2, make_base


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A tiny GPT-2 in a directory, without a tokenizer."""
    gpt2().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture(scope="package")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `model.base: scratch` makes; shared, so not to be changed."""
    return make_base(tmp_path_factory.mktemp("models") / "scratch")


@pytest.fixture
def local(scratch: Path, tmp_path: Path) -> Path:
    """A copy of it, as a user's own directory."""
    return Path(shutil.copytree(scratch, tmp_path / "local"))
