"""Weights left in their file, and what of a model is in none."""

from pathlib import Path

import naive
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from preference.core.errors import is_full_disk
from preference.model import loading, stored

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ([BF16, BF16], BF16),
        ([F16], F16),
        ([BF16, F16], F32),
        ([BF16, F32], F32),
        ([torch.float64], F32),
        ([torch.int64, BF16], F32),
    ],
)
def test_the_type_that_holds_all(
    kinds: list[torch.dtype], wanted: torch.dtype, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(len(kinds))]
    for file, kind in zip(files, kinds, strict=True):
        save_file(
            {"weight": torch.zeros(2, dtype=kind), "scalar": torch.tensor(1, dtype=kind)}, file
        )
    assert stored.dtype(files) == wanted


def scaled() -> Gemma3ForCausalLM:
    """A model that multiplies embeddings by a number that bf16 has not: the root of 40."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=97, hidden_size=40, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=8,
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


def computed(model: torch.nn.Module) -> dict[str, Tensor]:
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in kept}


@pytest.mark.parametrize("says", ["bfloat16", "float32"])
def test_a_mapped_model_is_the_loaded_one(says: str, tmp_path: Path) -> None:
    """Whatever config.json says of the precision of the weights."""
    scaled().to(BF16).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"bfloat16"', f'"{says}"'))
    mapped, loaded = loading.load(tmp_path, mapped=True), loading.load(tmp_path)
    weights, whole = mapped.state_dict(), loaded.state_dict()
    assert {weight.dtype for weight in weights.values()} == {BF16}
    assert all(torch.equal(weights[name].float(), whole[name]) for name in whole)
    ours, theirs = computed(mapped), computed(loaded)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(mapped.float()(ids).logits, loaded(ids).logits, rtol=0, atol=0)
    # The library's own way would have rounded it.
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=BF16)
    scale = "model.embed_tokens.embed_scale"
    assert computed(plain)[scale].float() != theirs[scale] == pytest.approx(40**0.5)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_values_are_kept_in_a_file(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = torch.randn(shape, dtype=torch.float64).to(BF16)
    kept = stored.keep(values.requires_grad_(), tmp_path / "kept")
    assert torch.equal(kept, values)
    file = (tmp_path / "kept").read_bytes()
    assert file == values.detach().view(torch.int16).numpy().tobytes()


def test_a_full_disk_is_an_error_and_ends_no_process(full_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error:
        stored.keep(torch.zeros(3 * 2**20), full_disk / "kept")
    assert is_full_disk(error.value)


def test_a_mapped_model_takes_no_memory(tmp_path: Path) -> None:
    """Its weights lie in one file, where they are read when they are used."""
    naive.llama().save_pretrained(tmp_path)
    mapped = loading.load(tmp_path, mapped=True)
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if str(tmp_path) in line]
    for weight in mapped.parameters():
        assert any(int(a, 16) <= weight.data_ptr() < int(b, 16) for a, b in ranges)
