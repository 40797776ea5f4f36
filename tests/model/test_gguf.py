"""GGUF files as a base: the weights and the tokenizer that were written, and refusals."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, dequantize, quantize
from model_cases import change_json, contents
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from preference.core.errors import InputError
from preference.core.params import Model
from preference.data import tokens
from preference.model import base, directories, gguf, loading
from preference.store import checksums

TEMPLATE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
HEADS = 2


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            max_position_embeddings=48,
            vocab_size=300,
            rope_theta=20_000.0,
            initializer_range=0.3,
        )
    )


def in_gguf(name: str) -> str:
    """What llama.cpp calls a weight of transformers."""
    stem = name.removesuffix(".weight")
    if stem in OTHERS:
        return f"{OTHERS[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def interleaved(values: np.ndarray) -> np.ndarray:
    """Rows of queries and keys as llama.cpp orders them: halves of a head turn by turn."""
    rows, width = values.shape
    halves = values.reshape(HEADS, 2, rows // HEADS // 2, width)
    return halves.swapaxes(1, 2).reshape(rows, width)


def write(
    path: Path,
    vocabulary: Path,
    *,
    model: LlamaForCausalLM | None = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    change: Callable[[GGUFWriter], Any] = lambda writer: None,
    eos: int | None = 0,
) -> Path:
    """Write a model and the byte-level BPE of another directory as llama.cpp's converter does."""
    model = model or llama()
    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(2)
    writer.add_context_length(48)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(20_000.0)
    writer.add_vocab_size(300)
    writer.add_file_type(LlamaFileType.ALL_F32)
    said = json.loads((vocabulary / "tokenizer.json").read_text())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(said["vocab"], key=said["vocab"].get))
    writer.add_token_types([3] + [1] * 299)
    writer.add_token_merges([" ".join(pair) for pair in said["merges"]])
    if eos is not None:
        writer.add_eos_token_id(eos)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            values = interleaved(values)
        raw = values.ndim > 1 and kind is not GGMLQuantizationType.F32
        writer.add_tensor(
            in_gguf(name),
            quantize(values, kind) if raw else values,
            raw_dtype=kind if raw else None,
        )
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def create(path: Path, out: Path, weights: str = "auto") -> None:
    base.create_base(Model(base=str(path), revision=None, weights=weights), 0, out, [])  # type: ignore[arg-type]


def test_a_file_becomes_the_model_and_tokenizer_that_were_written_into_it(
    scratch: Path, tmp_path: Path
) -> None:
    create(write(tmp_path / "m.gguf", scratch), tmp_path / "out")
    found, expected = AutoModelForCausalLM.from_pretrained(tmp_path / "out"), llama()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    ids = torch.arange(12).reshape(1, 12)
    assert torch.equal(found(ids).logits, expected.eval()(ids).logits)
    assert found.config.max_position_embeddings == 48
    assert not hasattr(found.config, "quantization_config")
    text = "\n\nHuman: Where's the market in 2024?\n\nAssistant: Zürich, 北京.<|endoftext|>"
    written, eos, *_ = tokens.load(tmp_path / "out")
    original = tokens.load(scratch).tokenizer
    assert eos == 0
    assert written.encode(text).ids == original.encode(text).ids
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer(text).input_ids == original.encode(text).ids
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == (
        "Hi<|endoftext|>"
    )
    assert directories.origin(tmp_path / "out").startswith("m.gguf (sha256 ")
    assert checksums.differing(tmp_path / "out") == []


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1])
def test_quantized_weights_come_as_what_they_stand_for(
    kind: GGMLQuantizationType, scratch: Path, tmp_path: Path
) -> None:
    create(write(tmp_path / "m.gguf", scratch, kind=kind), tmp_path / "out")
    found = loading.load(tmp_path / "out")
    for name in ("model.layers.1.mlp.down_proj.weight", "lm_head.weight"):
        original = llama().state_dict()[name].numpy()
        expected = dequantize(quantize(original, kind), kind)
        assert not np.array_equal(expected, original)
        np.testing.assert_array_equal(found.state_dict()[name].numpy(), expected)
    assert found.dtype == torch.float32


def test_files_beside_it_are_not_read(scratch: Path, local: Path, tmp_path: Path) -> None:
    create(write(tmp_path / "m.gguf", scratch), tmp_path / "alone")
    change_json(local / "config.json", vocab_size="no number")
    change_json(local / "tokenizer_config.json", eos_token="z")
    (local / "chat_template.jinja").write_text("another")
    create(write(local / "m.gguf", scratch), tmp_path / "beside")
    assert contents(tmp_path / "beside") == contents(tmp_path / "alone")


@pytest.mark.parametrize("kept", [0, 3, 100, 5_000, -100])
def test_a_damaged_file_is_refused(scratch: Path, tmp_path: Path, kept: int) -> None:
    file = write(tmp_path / "m.gguf", scratch)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"m\.gguf: cannot be taken over: damaged"):
        create(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match=r"m\.gguf: cannot be taken over.*magic"):
        create(tmp_path / "m.gguf", tmp_path / "out")
    with pytest.raises(InputError, match=r"model\.base: .*none\.gguf': no such file"):
        create(tmp_path / "none.gguf", tmp_path / "out")


REFUSED: dict[str, tuple[Callable[[GGUFWriter], Any], str]] = {
    "scaled positions": (
        lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(16, dtype=np.float32)),
        r"positions are scaled \(rope_freqs\.weight\)",
    ),
    "scaling by name": (
        lambda writer: writer.add_string("llama.rope.scaling.type", "yarn"),
        r"positions are scaled \(yarn\)",
    ),
    "one of several": (lambda writer: writer.add_uint16("split.count", 3), "one of 3 parts"),
    "another kind": (
        lambda writer: writer.add_string("general.architecture", "clip"),
        r"m\.gguf: cannot be taken over.*clip",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_another_model_is_refused(case: str, scratch: Path, tmp_path: Path) -> None:
    change, message = REFUSED[case]

    def changed(writer: GGUFWriter) -> None:
        writer.kv_data[0].pop("general.architecture", None) if case == "another kind" else None
        change(writer)

    file = write(tmp_path / "m.gguf", scratch, change=changed)
    with pytest.raises(InputError, match=message):
        create(file, tmp_path / "out")


def test_a_file_without_eos_is_refused(scratch: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "m.gguf", scratch, eos=None)
    with pytest.raises(InputError, match=r"m\.gguf: no tokenizer\.ggml\.eos_token_id"):
        create(file, tmp_path / "out")


def test_weights_that_are_not_numbers_are_named(scratch: Path, tmp_path: Path) -> None:
    model = llama()
    with torch.no_grad():
        model.model.norm.weight[3] = torch.nan
    file = write(tmp_path / "m.gguf", scratch, model=model)
    with pytest.raises(InputError, match=r"m\.gguf: 1 of the 64 weights in model\.norm\.weight"):
        create(file, tmp_path / "out")


def test_random_weights_are_not_had_from_a_file(scratch: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "m.gguf", scratch)
    with pytest.raises(InputError, match=r"m\.gguf: model\.weights: random is for a directory"):
        create(file, tmp_path / "out", "random")


def test_rules_that_are_not_known_are_said(
    scratch: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def other(writer: GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.pre")
        writer.add_tokenizer_pre("smollm")

    file = write(tmp_path / "m.gguf", scratch, change=other)
    with caplog.at_level(logging.WARNING):
        gguf.read_tokenizer(file)
    assert "no rules for how its tokenizer splits text (tokenizer.ggml.pre: smollm)" in caplog.text
    caplog.clear()
    gguf.read_tokenizer(write(tmp_path / "n.gguf", scratch))
    assert not caplog.text
