"""Which directory a model's name means."""

from pathlib import Path

import pytest

from preference.core.errors import InputError
from preference.model import directories


def test_in_a_copy_for_experiments_models_are_its_own_or_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    copy = project / ".dvc/tmp/exps/standalone/tmp1"
    for file in ("project/models/policy/2", "project/own/1", "beside/1"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    (copy / "models/policy").mkdir(parents=True)
    monkeypatch.chdir(copy)
    # What the pipeline made here is another model than what it made there.
    assert directories.locate_pinned("models/policy", "--policy") == Path("models/policy")
    for name in ("own", "../beside"):
        assert directories.locate_pinned(name, "--policy") == project / name
        assert directories.locate(name, None, "model.base", "model.revision") == project / name
    assert not directories.on_hub("own", "../beside", "models/policy", None)
    assert directories.on_hub("own", "someone/model@" + "0" * 40)
    with pytest.raises(InputError, match=r"'\.\./none' is no directory with config and tokenizer"):
        directories.locate_pinned("../none", "--policy")
