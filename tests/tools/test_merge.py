"""A trained adapter as a whole model, or a word on why there is none to write."""

import argparse
from pathlib import Path

import project
import pytest
import torch
from model_cases import make_adapter, make_base
from transformers import AutoModelForCausalLM

from preference.core.errors import InputError
from preference.core.params import Model
from preference.model import base, directories, loading
from preference.store import checksums
from tools import merge


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy that somebody else has trained by LoRA."""
    monkeypatch.chdir(tmp_path)
    make_base(Path("models/sft"))
    return make_adapter(Path("models/sft"), Path("models/policy"))


def run(*options: str) -> None:
    parser = argparse.ArgumentParser()
    merge.arguments(parser)
    merge.main(parser.parse_args(options))


def test_a_merged_adapter_is_a_model_that_the_pipeline_takes(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("whole")
    sizes = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert {Path(file).name: int(size.replace(",", "")) for size, file in sizes} == {
        file.name: file.stat().st_size for file in Path("whole").iterdir()
    }
    assert checksums.differing(Path("whole")) == []
    assert directories.origin(Path("whole")) == "scratch"
    found, expected = loading.load(Path("whole")), loading.load(adapter)
    plain = AutoModelForCausalLM.from_pretrained("whole")
    for name, weight in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)
        assert torch.equal(plain.state_dict()[name], weight)
    run("named", "--model", str(adapter.resolve()))
    assert Path("named/model.safetensors").read_bytes() == (
        Path("whole/model.safetensors").read_bytes()
    )
    base.create_base(Model(base="whole", revision=None), 0, tmp_path / "base", [])


def test_nothing_is_written_over_and_a_whole_model_needs_none(adapter: Path) -> None:
    for options, message in (
        (("models",), "TO=models: name a directory that does not exist yet, or is empty"),
        (("",), "TO=: name a directory"),
        (("out", "--model", "models/sft"), "models/sft: a whole model already, with nothing to me"),
    ):
        with pytest.raises(InputError, match=message):
            run(*options)
    adapter.rename("elsewhere")
    with pytest.raises(InputError, match="models/policy: no such directory; run make repro"):
        run("out")
    assert not Path("out").exists()


def test_make_says_what_it_takes() -> None:
    done = project.run(project.ROOT, "make", "-n", "merge", "TO=a b", "MODEL=c")
    assert 'python -m tools.merge "a b" --model "c"' in done.stdout
