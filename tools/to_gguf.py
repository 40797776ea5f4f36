"""A model as a GGUF file, for llama.cpp and what is built on it: GPT-2 and Llama.

Names of tensors are those of the package `gguf`; layouts are those of llama.cpp's own
convert_hf_to_gguf.py. What these two kinds of model can be in transformers and not in llama.cpp is
refused by name.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    get_tensor_name_map,
    quantize,
)
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from preference.core.errors import InputError
from tools import gguf_vocabulary

KINDS = {
    "fp32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "fp16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
# llama.cpp computes with these in float32 only; so does it with all vectors.
FULL = ("_norm.weight", "position_embd.weight")
# Spellings of the one GELU that llama.cpp has, and of no other.
TANH_GELUS = ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh")


class Architecture(NamedTuple):
    """A kind of model, as llama.cpp has it.

    Attributes:
        values: of keys of its config, those that it takes.
        describe: writes its sizes.
    """

    name: MODEL_ARCH
    values: Mapping[str, tuple[object, ...]]
    describe: Callable[[PreTrainedConfig, GGUFWriter], None]


def _describe_gpt2(config: PreTrainedConfig, writer: GGUFWriter) -> None:
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _describe_llama(config: PreTrainedConfig, writer: GGUFWriter) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


ARCHITECTURES = {
    "gpt2": Architecture(
        MODEL_ARCH.GPT2,
        {
            "activation_function": TANH_GELUS,
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        _describe_gpt2,
    ),
    "llama": Architecture(
        MODEL_ARCH.LLAMA,
        {
            "hidden_act": ("silu", "swish"),
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "rope_parameters.rope_type": ("default",),
            "rope_parameters.partial_rotary_factor": (None, 1.0),
        },
        _describe_llama,
    ),
}


def write(model: PreTrainedModel, directory: Path, out: Path, name: str, dtype: str) -> None:
    """Write a model and its tokenizer as one GGUF file.

    Args:
        model: its weights are float32; they are not changed.
        directory: holds the tokenizer, and stands in error messages.
        name: what the file says that the model is called.
        dtype: of the matrices: fp32, fp16 or bf16. Vectors and positions stay in float32.

    Raises:
        InputError: llama.cpp would make another model of it, or another tokenizer.
    """
    architecture = _supported(model.config, directory)
    rows = model.get_input_embeddings().num_embeddings
    vocabulary = gguf_vocabulary.read(directory, rows)
    kind, file_type = KINDS[dtype]
    writer = GGUFWriter(str(out), architecture.name.name.lower())
    writer.add_type("model")
    writer.add_name(name)
    writer.add_block_count(model.config.num_hidden_layers)
    writer.add_context_length(model.config.max_position_embeddings)
    writer.add_embedding_length(model.config.hidden_size)
    writer.add_head_count(model.config.num_attention_heads)
    architecture.describe(model.config, writer)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    gguf_vocabulary.add(vocabulary, writer)
    for tensor, values in _tensors(model, architecture, directory):
        full = values.ndim < 2 or tensor.endswith(FULL)
        type_ = GGMLQuantizationType.F32 if full else kind
        writer.add_tensor(tensor, quantize(values, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _supported(config: PreTrainedConfig, directory: Path) -> Architecture:
    architecture = ARCHITECTURES.get(config.model_type)
    instead = "export it as safetensors instead (without FORMAT=gguf)"
    if architecture is None:
        raise InputError(
            f"{directory / 'config.json'}: model_type is {config.model_type!r}; GGUF files are "
            f"written of {' and '.join(ARCHITECTURES)} only: {instead}"
        )
    for key, known in architecture.values.items():
        value: Any = config.to_dict()
        for part in key.split("."):
            value = (value or {}).get(part)
        if value not in known:
            raise InputError(
                f"{directory / 'config.json'}: {key} is {value!r}, and llama.cpp, or what "
                f"transformers reads of GGUF, has {known[0]!r} there: {instead}"
            )
    return architecture


def _tensors(
    model: PreTrainedModel, architecture: Architecture, directory: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """The weights under llama.cpp's names and in its layouts; of tied ones the embeddings alone."""
    names = get_tensor_name_map(architecture.name, model.config.num_hidden_layers)
    # They hold (in, out), all other matrices (out, in).
    turned = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, Conv1D)}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach()
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise InputError(f"{directory}: llama.cpp has no name for the weight {name}")
        if name in turned:
            tensor = tensor.T
        elif name.endswith("q_proj.weight"):
            tensor = interleaved(tensor, model.config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            tensor = interleaved(tensor, model.config.num_key_value_heads)
        yield stored, tensor.contiguous().numpy()


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys in the order in which llama.cpp rotates them.

    transformers rotates row `i` of a head with row `i + size / 2`, llama.cpp row `2 i` with
    `2 i + 1`.

    Args:
        weight: (heads x size, width).
    """
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
