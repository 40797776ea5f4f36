"""What is exported is the model that was trained, or there is nothing."""

import argparse
import shutil
from pathlib import Path

import gguf_cases
import project
import pytest
import torch
from gguf_cases import TEMPLATE
from model_cases import make_adapter
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from preference.core.errors import InputError
from preference.model import loading
from tools import export

FILES = ("config.json", "generation_config.json", "model.safetensors")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
IDS = torch.arange(60).reshape(1, 60)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's directory; not to be changed."""
    return gguf_cases.make_llama(tmp_path_factory.mktemp("models") / "llama")


def load(directory: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval()


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def run(*options: str) -> None:
    parser = argparse.ArgumentParser()
    export.arguments(parser)
    export.main(parser.parse_args(options))


def test_the_policy_is_exported_with_its_card(finished: Path, tmp_path: Path) -> None:
    to = tmp_path / "mine"
    done = project.run(finished, "python", "-m", "tools.export", str(to))
    assert done.returncode == 0, done.stderr
    assert names(to) == {*FILES, *TOKENIZER, "README.md"}
    sizes = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert {Path(file).name: int(size.replace(",", "")) for size, file in sizes} == {
        file.name: file.stat().st_size for file in to.iterdir()
    }
    assert 'AutoModelForCausalLM.from_pretrained("mine")' in (to / "README.md").read_text()
    model, trained = load(to), load(finished / "models/policy")
    assert torch.equal(model(IDS).logits, trained(IDS).logits)
    one, other = (AutoTokenizer.from_pretrained(at) for at in (to, finished / "models/policy"))
    text = "\n\nHuman: Where?\n\nAssistant: Here, in Zürich.<|endoftext|>"
    assert one(text).input_ids == other(text).input_ids


def test_as_gguf(finished: Path, tmp_path: Path) -> None:
    to = tmp_path / "mine"
    command = ("python", "-m", "tools.export", str(to), "--format", "gguf", "--dtype", "bf16")
    done = project.run(finished, *command)
    assert done.returncode == 0, done.stderr
    assert names(to) == {"policy-bf16.gguf", "README.md"}
    found = AutoTokenizer.from_pretrained(to, gguf_file="policy-bf16.gguf")
    assert found("Where?").input_ids == (
        AutoTokenizer.from_pretrained(finished / "models/policy")("Where?").input_ids
    )


def test_a_card_of_another_policy_stays_where_it_is(another: Path, tmp_path: Path) -> None:
    project.set_params(another, {"train.beta": 1.0})
    done = project.run(another, "python", "-m", "tools.export", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "mine") == {*FILES, *TOKENIZER}
    told = "without a card (results/card.md: final-eval, report, train); make repro writes it\n"
    assert done.stderr == told


@pytest.mark.parametrize(("dtype", "kind"), export.DTYPES.items())
def test_in_each_precision(dtype: str, kind: torch.dtype, llama: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    run(str(to), "--model", str(llama), "--dtype", dtype)
    assert names(to) == {*FILES, *TOKENIZER, "chat_template.jinja"}
    model = load(to)
    assert model.dtype == kind
    for name, tensor in load(llama).state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.to(kind)), name
    assert AutoTokenizer.from_pretrained(to).chat_template == TEMPLATE


def test_an_adapter_is_merged(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(llama, "base")
    make_adapter(Path("base"), Path("adapter"))
    run("out", "--model", "adapter")
    expected = loading.load(Path("adapter"))
    assert torch.equal(load(Path("out"))(IDS).logits, expected(IDS).logits)
    assert {*FILES, *TOKENIZER} <= names(Path("out"))
    run("files", "--model", "adapter", "--format", "gguf")
    assert names(Path("files")) == {"adapter-fp32.gguf"}


def test_weights_beyond_the_precision_are_refused(llama: Path, tmp_path: Path) -> None:
    large = Path(shutil.copytree(llama, tmp_path / "large"))
    model = load(large)
    with torch.no_grad():
        model.model.norm.weight[0] = 1e5
    model.save_pretrained(large)
    run(str(tmp_path / "bf16"), "--model", str(large), "--dtype", "bf16")
    for kind in export.FORMATS:
        with pytest.raises(InputError, match=r"norm\.weight has weights of up to 100000, "):
            run(str(tmp_path / "fp16"), "--model", str(large), "--dtype", "fp16", "--format", kind)
    assert names(tmp_path) == {"large", "bf16"}


@pytest.mark.parametrize("to", ["", "there", "there/file", "."])
def test_nothing_is_written_over(
    to: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("there/file").write_text("mine")
    with pytest.raises(InputError, match=f"TO={to}: name a directory that does not exist yet"):
        run(to, "--model", str(llama))
    assert names(tmp_path) == {"there"}
    assert Path("there/file").read_text() == "mine"


def test_an_empty_directory_is_taken(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(str(tmp_path / "out"), "--model", str(llama))
    assert "model.safetensors" in names(tmp_path / "out")
    assert names(tmp_path) == {"out"}


def test_what_cannot_be_written_leaves_nothing(llama: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(llama, tmp_path / "odd"))
    gguf_cases.set_in(odd / "tokenizer.json", "normalizer", {"type": "NFC"})
    with pytest.raises(InputError, match="a normalizer"):
        run(str(tmp_path / "out"), "--model", str(odd), "--format", "gguf")
    assert names(tmp_path) == {"odd"}


def test_without_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="models/policy: no such directory; run make repro, or na"):
        run("out")


def test_a_damaged_policy_is_refused(
    another: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    file = Path("models/policy/generation_config.json")
    file.chmod(0o644)
    file.write_text("{}")
    with pytest.raises(InputError, match=r"generation_config\.json: not what checksums\.json besi"):
        run(str(tmp_path / "out"))
